"""The comparison of methods: evaluation on test rows, statistics, the table and its text."""
