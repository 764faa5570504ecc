"""The event store: its files, their checks, and batches on the device."""
