"""One experiment: its frozen config, and whether config and data fit together."""
