"""Proving a prepared folder right, with none of the arithmetic that built it."""
