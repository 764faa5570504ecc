"""Learning rate schedules."""

from __future__ import annotations

import math


def learning_rate_factor(step: int, steps: int, schedule: str, warmup_fraction: float) -> float:
    """The share of the learning rate at ``step`` of ``steps``: a linear warmup, then constant or half a cosine to 0."""
    warmup = int(warmup_fraction * steps)
    if step < warmup:
        return (step + 1) / warmup
    if schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
