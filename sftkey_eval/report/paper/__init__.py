"""Tables as files, for a paper: CSV, and LaTeX."""
