"""Comparing a predicted with a gold answer: the ladder of rules and its verdict."""
