"""Writing a prepared folder: plan, work, resume, and the card that explains the result."""
