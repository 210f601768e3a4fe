"""What a run leaves on disk, and whether what lies there is its own and whole."""
