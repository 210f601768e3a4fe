"""What a study's record says: which arm is better than plain training, by how much, and how sure that is."""
