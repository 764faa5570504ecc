"""The optimizers, each with a reference in PyTorch."""
