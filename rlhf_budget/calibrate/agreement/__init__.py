"""How often independent annotators agree, from preference sets with repeated votes."""
