"""The event store: reads, writes and checks its files, and gathers batches from it on the training device.

``EventStore`` is a prepared store, ``DeviceStore`` gathers its batches, ``StoreWriter`` writes a new one.
"""
