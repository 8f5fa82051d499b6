"""Passes over rows, and what is computed in them: moments, principal components, k-means."""
