"""A prepared folder as it lies on a disk: manifest, shards, counts, labels."""
