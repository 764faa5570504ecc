"""Raw logs -> a prepared event store -> batches already on the device. Knows no model."""
