"""The comparison at the end of a run: test evaluation, table, plots, files that others read."""
