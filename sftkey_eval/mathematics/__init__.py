"""Exact values: expressions, quantities, equations and sets, read and compared without rounding."""
