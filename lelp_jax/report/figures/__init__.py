"""Plots of methods, training, hyperparameters and sweeps."""
