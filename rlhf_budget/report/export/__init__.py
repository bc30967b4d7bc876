"""A plan as a trainer's own options: what there is to say, in which trainer's names and form."""
