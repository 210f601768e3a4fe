"""The last rule of the ladder, symbolic equivalence, in a process of its own."""
