"""Answers of PyTorch models to texts, as a file of a teacher from elsewhere."""
