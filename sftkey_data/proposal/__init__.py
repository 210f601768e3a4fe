"""What a table seems to hold: a mapping proposed from its first rows, with what it cannot read."""
