"""What a run has used so far."""
