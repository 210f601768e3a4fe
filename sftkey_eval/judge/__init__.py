"""A language model as second grader: what it is asked, what it said before, and how its answers are read."""
