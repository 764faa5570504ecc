"""Training steps of every model."""
