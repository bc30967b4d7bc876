"""The bound, a function per term; the log-ratio's tails; the clipping penalty's chord table."""
