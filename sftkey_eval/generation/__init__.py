"""Completions by models, through lm-eval's back-ends."""
