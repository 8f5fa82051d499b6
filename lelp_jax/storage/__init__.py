"""Named arrays of rows in files of several formats, which need not fit into memory."""
