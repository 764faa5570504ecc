"""Workers that sleep instead of training, against a PostgreSQL."""
