"""What stands before the imports of a program."""
