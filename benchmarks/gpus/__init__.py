"""The same work on more and more GPUs."""
