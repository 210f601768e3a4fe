"""Looking at a prepared folder: examples in colour, one HTML page, statistics."""
