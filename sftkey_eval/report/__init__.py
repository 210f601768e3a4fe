"""Pages, tables and plots; numbers come in, nothing is computed from verdicts here."""
