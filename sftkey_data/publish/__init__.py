"""What of ours goes to a hub, and the verb `push` that puts it there."""
