"""Banks: a teacher's logits and embeddings of all training and validation rows, on disk."""
