"""Time and memory of the fused kernels."""
