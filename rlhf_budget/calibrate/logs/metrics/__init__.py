"""A trainer's own log, whichever form it was kept in."""
