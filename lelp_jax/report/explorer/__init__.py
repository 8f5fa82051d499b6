"""The report as one HTML file to look around in."""
