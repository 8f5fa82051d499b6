"""Command lines and the overrides that they give."""
