"""Transformer encoders: sizes, blocks, the trunk, and networks with an output layer."""
