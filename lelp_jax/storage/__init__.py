"""Arrays that need not fit into memory: read and written by rows, in files of several formats."""
