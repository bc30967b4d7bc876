"""Does the bound hold, how loose is it, and which allocation estimates best."""
