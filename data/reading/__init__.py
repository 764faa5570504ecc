"""Raw files: delimited text and Parquet in slices, their defects, their hashes."""
