"""Banks: a teacher's logits and embedding of every training and validation row, on disk."""
