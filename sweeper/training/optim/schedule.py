"""Learning rate schedules."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from mdaf.sweeper.runs.metric_columns import MONITOR, EpochMetrics, is_better


def learning_rate_factor(step: int, steps: int, schedule: str, warmup_fraction: float) -> float:
    """The share of the learning rate at ``step`` of ``steps``: a linear warmup, then 1, or half a cosine to 0."""
    warmup = int(warmup_fraction * steps)
    if step < warmup:
        return (step + 1) / warmup
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
    return 1.0


@dataclass
class Plateau:
    """Lowers a replica's learning rate whenever ``epochs`` epochs in a row have brought no better ``monitor``.

    As ``ReduceLROnPlateau`` of PyTorch with ``threshold=0`` and ``patience=epochs - 1``. All state follows from the
    history of metrics, so a resumed run needs nothing else.

    ``factor``       by which the rate is multiplied each time.
    ``lowest_rate``  below which it does not fall.
    """

    epochs: int
    factor: float
    lowest_rate: float = 0.0
    monitor: str = MONITOR
    _best: float | None = None
    _without_better: int = 0
    _reductions: int = 0

    def add(self, metrics: EpochMetrics) -> None:
        """Counts an epoch."""
        value = metrics[self.monitor]
        if self._best is None or is_better(self.monitor, value, self._best):
            self._best, self._without_better = value, 0
            return
        self._without_better += 1
        if self._without_better >= self.epochs:
            self._without_better = 0
            self._reductions += 1

    def after(self, history: Iterable[EpochMetrics]) -> Plateau:
        """Itself, with these epochs of a run counted."""
        for metrics in history:
            self.add(metrics)
        return self

    def share_of(self, learning_rate: float) -> float:
        """The share of a replica's own learning rate that is left."""
        return max(self.factor**self._reductions, min(1.0, self.lowest_rate / learning_rate))
