"""The report as one interactive HTML file."""
