"""Reads raw files: delimited text and Parquet in blocks. Counts their bad rows, and hashes them."""
