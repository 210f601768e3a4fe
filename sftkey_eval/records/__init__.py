"""What is on disk: completions, verdicts, run records, and how their files are written."""
