"""Our evaluation sets as tasks of lm-eval's own command."""
