"""Exact money, the search, the certified optimum and the ranges around it."""
