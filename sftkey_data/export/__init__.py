"""Handing a prepared folder on, in the forms that other trainers read."""
