"""A run's folder: what is written there, and the reader of it."""
