"""Finding the answer in a completion, and the value its CoT states."""
