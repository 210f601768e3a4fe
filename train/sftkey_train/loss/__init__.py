"""What a stage minimises, and how little of the model it has to run for it."""
