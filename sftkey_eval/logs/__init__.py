"""Completions from the logs of other programs."""
