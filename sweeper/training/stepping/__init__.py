"""One training step: its micro-batches, its losses, its capture in a CUDA graph."""
