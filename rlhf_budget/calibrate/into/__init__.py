"""Estimates as YAML: a fragment, or an edit in place."""
