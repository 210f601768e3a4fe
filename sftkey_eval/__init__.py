"""Is the format valid, is the Key right, and where do the errors come from."""
