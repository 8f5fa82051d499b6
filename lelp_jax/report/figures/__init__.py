"""Plots of methods, training curves, embeddings, hyperparameters and sweeps."""
