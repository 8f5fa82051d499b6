"""Foundations that every package may use: errors, seeds, files, artifacts, devices, metrics."""
