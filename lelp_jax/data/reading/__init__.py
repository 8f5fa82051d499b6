"""Readers of CSV, TSV, JSON lines and Parquet files that name the line of an error."""
