"""Files of rows as people have them, read and checked: CSV, TSV, JSON lines, Parquet."""
