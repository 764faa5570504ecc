"""From raw logs to a prepared event store, and from there to batches on the training device. It imports no model."""
