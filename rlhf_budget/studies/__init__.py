"""Several plans: comparisons with their causes, sweeps, gates."""
