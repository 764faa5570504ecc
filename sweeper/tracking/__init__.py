"""Trackers: TensorBoard, Weights & Biases, MLflow and Aim show a run beside its folder. Each by its own library."""
