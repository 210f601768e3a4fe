"""Formulas: intervals, tests, resampling."""
