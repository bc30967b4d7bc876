"""How far the reward model's data are from the current policy."""
