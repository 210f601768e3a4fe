"""The Key under teacher forcing: given the gold CoT and given the model's own."""
