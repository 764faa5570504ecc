"""Overrides that make a run tiny: to see on a CPU whether a benchmark for GPUs still works."""

SMOKE = (
    "data=synthetic_tiny",
    "device=cpu",
    "model.sequence.embedding={item: 8, category: 8, other: 4}",
    "model.sequence.hidden=16",
    "model.sequence.layers=1",
    "model.sequence.state=4",
    "model.static.embedding=4",
    "model.head=[8]",
    "training.batch_size=256",
)
