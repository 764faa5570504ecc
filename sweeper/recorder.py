"""Follows one replica through training and leaves its artifacts: metrics, checkpoints, result, summary."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from torch import Tensor

from model.stack import replica_state
from sweeper.progress import EpochProgress
from sweeper.replicas import Replicas
from sweeper.run_folder import RunFolder
from sweeper.summary import Criteria, summarize
from sweeper.training import Row
from sweeper.trial import TrialLink

log = logging.getLogger(__name__)


class Recorder:
    """The ``training.Follower`` of one run.

    ``identity`` is what the result says besides its numbers: hashes, commit, versions, device, seed, study and trial.
    ``objectives`` are columns of metrics.csv; the first one is what the trial is told epoch by epoch.
    """

    def __init__(
        self,
        folder: RunFolder,
        identity: Mapping[str, Any],
        criteria: Criteria,
        epochs: int,
        progress: EpochProgress,
        trial: TrialLink | None = None,
        objectives: Sequence[str] = ("val_auc",),
    ) -> None:
        self.folder = folder
        self.identity = dict(identity)
        self.criteria = criteria
        self.epochs = epochs
        self.progress = progress
        self.trial = trial
        self.objectives = tuple(objectives)
        self.history: list[Row] = []
        self.best: Row | None = None
        self.pruned = False
        self.error: Exception | None = None

    def step(self, epoch: int, step: int, steps: int, loss: Tensor) -> None:
        self.progress.step(epoch, step, steps, loss)

    def epoch(self, row: Row, replicas: Replicas, k: int) -> bool:
        self.progress.close()
        self.history.append(row)
        improved = self.best is None or row["val_auc"] > self.best["val_auc"]
        if improved:
            self.best = row
        self.folder.write_metrics(self.history)
        checkpoint = self._checkpoint(row, replicas, k)
        if improved:
            self.folder.write_checkpoint("best.pt", checkpoint)
        self.folder.write_checkpoint("last.pt", checkpoint)
        log.info(describe_epoch(row, self.epochs))
        if self.trial is not None:
            last = row["epoch"] == self.epochs  # stopping would save nothing and lose the value
            self.pruned = self.trial.report(row["epoch"], row[self.objectives[0]], last=last)
        return self.pruned

    def failed(self, error: Exception) -> None:
        self.progress.close()
        self.error = error

    def restart(self) -> None:
        """Forgets what was recorded, since the run begins again."""
        self.history, self.best, self.pruned, self.error = [], None, False, None

    def finish(self) -> float | tuple[float, ...]:
        """Writes result and summary and returns the objective: the best epoch's validation AUC.

        With other ``objectives`` it is these metrics of the epoch with the best validation AUC, a tuple if several.
        Raises what made the replica fail, or ``optuna.TrialPruned`` if its study stopped it.
        """
        if self.error is not None:
            raise self.error
        assert self.best is not None
        values = tuple(self.best[name] for name in self.objectives)
        objective = values[0] if len(values) == 1 else values
        state = "pruned" if self.pruned else "complete"
        self.folder.write_json(
            "result.json",
            {
                "state": state,
                "objective": objective,
                "best_epoch": self.best["epoch"],
                "epochs": len(self.history),
                "best": self.best,
                **self.identity,
            },
        )
        self.folder.write_text("summary.txt", summarize(self.identity, self.history, self.epochs, self.criteria))
        if self.trial is not None:
            names = ("train_auc", "train_val_gap", "gate_mean", "epoch_seconds")
            self.trial.record({"best_epoch": self.best["epoch"], **{name: self.best[name] for name in names}})
            self.trial.constrain(self.history[-1])
        if self.pruned:
            raise optuna.TrialPruned(f"stopped by the pruner after epoch {len(self.history)}")
        return objective

    def _checkpoint(self, row: Row, replicas: Replicas, k: int) -> dict[str, Any]:
        return {
            "epoch": row["epoch"],
            "val_auc": row["val_auc"],
            "metrics_history": self.history,
            "weights": replica_state(replicas.model, k),
            "optimizer": replicas.optimizer_state(k),
            # Every random stream is a function of the seed and the position: these two are all its state.
            "streams": {"seed": replicas.hyperparameters[k].seed, "epochs_done": row["epoch"]},
            "config_hash": self.identity["config_hash"],
            "data_hash": self.identity["data_hash"],
        }


def describe_epoch(row: Row, epochs: int) -> str:
    """An epoch in one line."""
    gate = "" if row["gate_mean"] is None else f"  gate {row['gate_mean']:.3f}"
    return (
        f"epoch {row['epoch']}/{epochs}  train loss {row['train_loss']:.4f} AUC {row['train_auc']:.4f}  "
        f"val loss {row['val_loss']:.4f} AUC {row['val_auc']:.4f} gAUC {row['val_gauc']:.4f}  "
        f"gap {row['train_val_gap']:+.4f}{gate}  Epoch time: {row['epoch_seconds']:.1f} s"
    )
