"""Prices of prompts and rollouts, from what past runs cost."""
