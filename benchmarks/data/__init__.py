"""What preparing a log costs, and how fast batches come."""
