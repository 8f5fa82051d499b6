"""Command lines: flags, and overrides of config values."""
