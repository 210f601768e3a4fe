"""Reading one answer: markup, numbers, units, lists, option letters."""
