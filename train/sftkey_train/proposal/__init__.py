"""A recipe proposed for a model, a prepared folder and this machine."""
