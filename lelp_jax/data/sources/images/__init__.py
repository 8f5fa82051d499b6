"""Where images come from, one file a source, and how they are read."""
