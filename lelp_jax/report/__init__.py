"""The report of a run: test evaluation, comparison, figures, diagnostics and published files."""
