"""The hooks of the callback for Lightning, without a base class: Lightning is installed under two import names."""

from __future__ import annotations

from typing import Any

import optuna

from mdaf.errors import UserError, did_you_mean
from mdaf.sweeper.trials.attaching.attached import attach


class ReportEachEpoch:
    """Reports a logged metric to the job's trial after each epoch, and ends the job where the pruner stops the trial.

    With several processes, the first one reports and all of them end. Outside a sweep it does nothing.

    ``monitor``  the name of a metric that the module logs, as ``val/loss``. Where validation does not run after each
                 epoch, only the epochs with one are reported.
    """

    def __init__(self, monitor: str) -> None:
        super().__init__()
        self.monitor = monitor
        self._has_validated = False

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self._has_validated = True

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self._has_validated = False

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Raises optuna.TrialPruned if the pruner stops the trial, UserError if the metric is not logged."""
        trial = attach()
        if not trial or (trainer.enable_validation and not self._has_validated):
            return
        metrics = trainer.callback_metrics
        if self.monitor not in metrics:
            known = sorted(map(str, metrics))
            raise UserError(
                f"monitor: found {self.monitor}, which the module does not log; expected one of {', '.join(known)}"
                f"{did_you_mean(self.monitor, known)}"
            )
        last = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        value, stop = float(metrics[self.monitor]), False
        if trainer.is_global_zero:
            stop = trial.asks_to_stop(trainer.current_epoch, value, last=last)
        if trainer.strategy.broadcast(stop):
            raise optuna.TrialPruned(f"stopped by the pruner after epoch {trainer.current_epoch}")
