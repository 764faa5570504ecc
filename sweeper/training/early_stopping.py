"""Early stopping: the best epoch of a run so far, and when too many epochs have passed without a better one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mdaf.sweeper.runs.metric_columns import MONITOR, EpochMetrics, is_better


@dataclass
class EarlyStopping:
    """The best epoch of one run so far, by the metric ``monitor``, and whether the run should stop.

    ``patience``  epochs without a better one after which it stops; None: it never does.
    ``best``      the metrics of the best epoch, the first one of equals; None before the first epoch.
    ``epoch``     the last epoch that was added.
    """

    patience: int | None = None
    best: EpochMetrics | None = None
    epoch: int = 0
    monitor: str = MONITOR

    @classmethod
    def after(
        cls, history: Iterable[EpochMetrics], patience: int | None = None, monitor: str = MONITOR
    ) -> EarlyStopping:
        """As it stands after these epochs of a run."""
        stopping = cls(patience, monitor=monitor)
        for metrics in history:
            stopping.add(metrics)
        return stopping

    def add(self, metrics: EpochMetrics) -> bool:
        """Counts an epoch; True if it is the best so far."""
        self.epoch = metrics["epoch"]
        improved = self.best is None or is_better(self.monitor, metrics[self.monitor], self.best[self.monitor])
        if improved:
            self.best = metrics
        return improved

    @property
    def stops(self) -> bool:
        """Whether ``patience`` epochs have passed since the best one."""
        if self.patience is None or self.best is None:
            return False
        return bool(self.epoch - self.best["epoch"] >= self.patience)
