"""The learning curve of a reward model, from its evaluation losses."""
