"""The training loop: replicas, steps, evaluation, metrics."""
