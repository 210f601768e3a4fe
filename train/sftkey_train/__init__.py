"""The lean two-stage training loop: prepared shards and a recipe in, Hugging Face checkpoints out."""
