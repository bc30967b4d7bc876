"""A certificate that somebody else can check: its writer, and a checker that shares no code."""
