"""The machine: which cores, processor and GPUs it has, and how processes share them."""
