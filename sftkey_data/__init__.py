"""Raw chain-of-thought datasets in, Arrow shards with exact Key spans out."""

__version__ = "0.1.0"
