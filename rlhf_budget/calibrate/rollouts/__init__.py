"""Variances, informative groups and the log-ratio's tail, from rollouts."""
