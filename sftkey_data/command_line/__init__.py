"""How the programs look at the terminal: their help, version, shell completion, and options of former names."""
