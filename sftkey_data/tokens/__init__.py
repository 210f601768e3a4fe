"""Tokenizers, the fast encoders proven equal to them, and token borders."""
