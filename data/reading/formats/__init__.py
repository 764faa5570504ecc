"""The formats of a log's files: delimited text, Parquet. Each is read in blocks of rows of text."""
