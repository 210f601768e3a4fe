"""The three programs under one name, and the demo."""
