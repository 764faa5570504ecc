"""A trained model as a file for other programs, ONNX or ``torch.export``: ``mdaf-export``."""
