"""A user's TOML file as an extractor: a small closed vocabulary."""
