"""What of ours goes to a hub or a tracker, and the verb `push`."""
