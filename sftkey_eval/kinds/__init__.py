"""The answer types: one file each, and the one table that knows them."""
