"""Rows from files, URLs, hub ids and folders, and the pieces a build cuts them into."""
