"""Records one replica's training: writes metrics, checkpoints, result and summary, and reports to its trial.

The training loop calls it through ``group``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from torch import Tensor

from mdaf.conf.schema import Criteria
from mdaf.data.inspecting.trivial_rules import TrivialRules, not_learning_yet
from mdaf.errors import StoppedError, UserError, text_of
from mdaf.messages import alerts
from mdaf.model.stack import replica_state
from mdaf.sweeper.job.summary import summarize
from mdaf.sweeper.machine.steadiness import judge_steadiness
from mdaf.sweeper.machine.telemetry import resident_mb
from mdaf.sweeper.runs.checkpoint import PartialEpoch, Position, Saved
from mdaf.sweeper.runs.folder import RunFolder
from mdaf.sweeper.runs.metric_columns import (
    BY_NAME,
    COLUMNS,
    MONITOR,
    RECORDED,
    EpochMetrics,
    column,
    ranking_in,
    shown,
)
from mdaf.sweeper.runs.parts import UNKNOWN, Part, changes, joined, part_from
from mdaf.sweeper.runs.reader import checkpoint_digest, read_result
from mdaf.sweeper.training.early_stopping import EarlyStopping
from mdaf.sweeper.training.progress import EpochProgress
from mdaf.sweeper.training.replicas import Trained

if TYPE_CHECKING:  # a run without a study needs neither Optuna nor a database's drivers
    from mdaf.sweeper.tracking.tracked_run import TrackedRun
    from mdaf.sweeper.trials.attaching.link import TrialLink

log = logging.getLogger(__name__)


class Recorder:
    """The callback of one run: the training loop calls it after steps and epochs.

    ``identity``    from ``identity.identify``: hashes, commit, versions, device, seed, study, trial. The result repeats
                    it.
    ``criteria``    by which the summary judges the run; None where none are meant.
    ``epochs``      the number of epochs of the whole run.
    ``trial``       the link to the run's trial; None without a study.
    ``objectives``  columns of metrics.csv. The first one is reported to the trial after each epoch.
    ``monitor``     the metric that decides the best epoch.
    ``tracked``     the run at its tracker; None without one.
    ``rules``       gives what trivial rules reach on the run's validation rows; None where nobody asks.
    """

    def __init__(
        self,
        folder: RunFolder,
        identity: Mapping[str, Any],
        criteria: Criteria | None,
        epochs: int,
        progress: EpochProgress,
        trial: TrialLink | None = None,
        objectives: Sequence[str] = (MONITOR,),
        monitor: str = MONITOR,
        tracked: TrackedRun | None = None,
        rules: Callable[[], TrivialRules] | None = None,
    ) -> None:
        self.folder = folder
        self.identity = dict(identity)
        self.criteria = criteria
        self.epochs = epochs
        self.progress = progress
        self.trial = trial
        self.objectives = tuple(objectives)
        self.monitor = monitor
        self.tracked = tracked
        self.rules = rules
        self.history: list[EpochMetrics] = []
        self._best_so_far = EarlyStopping(monitor=monitor)  # only to know the best epoch: the loop decides when to stop
        self.pruned = False
        self.error: Exception | None = None
        self.slow_downs: list[dict[str, Any]] = []
        self.parts: list[Part] = [part_from(identity, 1, 0)]
        self.resident_mb: list[float] = []  # at the end of each epoch of this process
        self._reported_epochs = 0  # the last epoch that the trial was told of

    @property
    def best(self) -> EpochMetrics | None:
        """The metrics of the epoch with the best ``monitor`` so far; None before the first one."""
        return self._best_so_far.best

    def step(self, epoch: int, step: int, steps: int, loss: Tensor) -> None:
        self.progress.step(epoch, step, steps, loss)

    def epoch(self, row: EpochMetrics, replicas: Trained, k: int, *, saves: bool) -> bool:
        self.progress.close()
        self.history.append(row)
        improved = self._best_so_far.add(row)
        if saves:
            self._save_after(row, replicas, k, is_best=improved)
        else:
            best = self._state(Position(row["epoch"] + 1, 0), None, replicas, k, []) if improved else None
            one_is_left = row["epoch"] == self.epochs - 1
            self.folder.record(self.history, best, aside=replicas.device.type != "cpu", one_is_left=one_is_left)
        self.resident_mb.append(resident_mb())
        log.info(describe_epoch(row, self.epochs))
        try:
            self._report(row)
        except BaseException:
            if not saves:
                self._save_after(row, replicas, k, is_best=improved)
            raise
        if self.pruned and not saves:
            self._save_after(row, replicas, k, is_best=improved)
        if improved and row["epoch"] > 1 and self.trial is None:
            value = row[self.monitor]
            alerts.tell(alerts.NEW_BEST, f"new best: epoch {row['epoch']}, {self.monitor} {value:.4f}", value=value)
        return self.pruned

    def _save_after(self, row: EpochMetrics, replicas: Trained, k: int, *, is_best: bool) -> None:
        """Saves the state after an epoch."""
        # After the last epoch nobody goes on from the moments, which are twice as long as the weights.
        moments = [] if row["epoch"] == self.epochs else replicas.optimizer_state(k)
        self.folder.save(self._state(Position(row["epoch"] + 1, 0), None, replicas, k, moments), is_best=is_best)

    def save(self, position: Position, partial_epoch: PartialEpoch | None, replicas: Trained, k: int) -> None:
        self.folder.save(self._state(position, partial_epoch, replicas, k, replicas.optimizer_state(k)))

    def wait(self) -> None:
        self.folder.wait()

    def go_on(self, state: Saved) -> None:
        """Continues from a checkpoint: takes its history over and reports it to the trial.

        Sets ``pruned`` if the pruner stops the run there.
        """
        self.restart()
        self.history = [dict.fromkeys(COLUMNS) | row for row in state.history]  # an older version had fewer columns
        self.parts = state.parts or [UNKNOWN]
        for row in self.history:
            self._best_so_far.add(row)
            self._report(row)
        if self.history:
            self.folder.write_metrics(self.history)

    def begin_part(self, position: Position, *, fell_back: bool = False) -> None:
        """Records that this process trains from ``position`` on, and warns if commit, device or precision changed.

        ``fell_back``: the device was changed on purpose, because it was too slow.
        """
        part = part_from(self.identity, position.epoch, position.step)
        different = changes(self.parts[-1], part)
        if different and not fell_back:
            at = f"epoch {position.epoch}, step {position.step}"
            log.warning("what trains this run is not what began it, from %s on: %s", at, "; ".join(different))
        if different or fell_back:
            self.parts = [*self.parts, part | ({"fell_back": True} if fell_back else {})]

    def failed(self, error: Exception) -> None:
        self.progress.close()
        self.error = error

    def restart(self) -> None:
        """Discards what was recorded, because the run starts again from the beginning."""
        self.history, self.pruned, self.error = [], False, None
        self.folder.forget_best()
        self._best_so_far = EarlyStopping(monitor=self.monitor)
        self.parts = [part_from(self.identity, 1, 0)]

    def finish(self) -> float | tuple[float, ...]:
        """Writes result and summary, and returns the objective.

        The objective is the ``monitor`` of the best epoch. With other ``objectives`` it is these metrics of that epoch,
        as a tuple if there are several. Raises the exception that ended the replica, or ``optuna.TrialPruned``
        if the pruner stopped it.
        """
        if self.error is not None:
            with suppress(StoppedError):  # the first error is the one to raise
                self.folder.save_best_without_state()
            raise self.error
        self.folder.save_best()
        best = self.best
        assert best is not None
        values = tuple(self._objective(best, name) for name in self.objectives)
        objective = values[0] if len(values) == 1 else values
        state = "pruned" if self.pruned else "complete"
        if not self._has_result(state):
            self._write_result({"state": state, "objective": objective})
        if self.trial is not None:
            recorded: dict[str, Any] = {name: best.get(name) for name in (*RECORDED, *ranking_in([best]))}
            if self.monitor != MONITOR:
                recorded |= {"monitor": self.monitor, "val_auc": best["val_auc"], "val_gauc": best["val_gauc"]}
            self.trial.record({"best_epoch": best["epoch"], **recorded})
            self.trial.constrain(self.history[-1])
            if not self.pruned:
                self.trial.conclude(values)
        self.folder.finished()
        if self.tracked is not None:
            self.tracked.end("pruned" if self.pruned else "complete", best)
        if self.pruned:
            import optuna

            raise optuna.TrialPruned(f"stopped by the pruner after epoch {len(self.history)}")
        return objective

    def _has_result(self, state: str) -> bool:
        """Whether the folder has the result of this run already. If so, it is not written again."""
        found = read_result(self.folder.path, needs=()) or {}
        names = ("config_hash", "data_hash", "study", "trial")
        return found.get("state") == state and all(found.get(name) == self.identity.get(name) for name in names)

    def _write_result(self, outcome: Mapping[str, Any]) -> None:
        """Writes the summary, then the result. A folder with a result belongs to a finished run."""
        assert self.best is not None
        steadiness = judge_steadiness(self.history, self.slow_downs, self.resident_mb)
        identity = self.identity | {name: joined(self.parts, name) for name in ("commit", "device", "precision")}
        rules = self._trivial_rules()
        summary = summarize(identity, self.history, self.epochs, self.criteria, self.monitor, rules)
        self.folder.write_text("summary.txt", f"{summary}\nThe machine\n  {steadiness}\n")
        result = {
            **outcome,
            "best_epoch": self.best["epoch"],
            "epochs": len(self.history),
            "best": self.best,
            "steadiness": steadiness,
            "slow_downs": self.slow_downs,
            **identity,
            **(
                {"trivial_rule": dict(zip(("rule", "val_auc"), rules.best, strict=True))}
                if rules and rules.best
                else {}
            ),
            "parts": self.parts,
            "checkpoint": checkpoint_digest(self.folder.path),
        }
        self.folder.write_result(result)
        if self.slow_downs or self.identity["experiment"] == "infrastructure_check":
            log.info("the machine: %s", steadiness)

    def _trivial_rules(self) -> TrivialRules | None:
        """What trivial rules reach; the log says so where the run does not. A run never fails for their sake."""
        if self.rules is None or self.best is None:
            return None
        try:
            rules = self.rules()
        except Exception as error:
            log.warning("what trivial rules reach is not known: %s", text_of(error))
            return None
        if rules.best is not None and (said := not_learning_yet(self.best["val_auc"], *rules.best)):
            log.warning("validation AUC %s", said)
        return rules

    def _report(self, row: EpochMetrics) -> None:
        """Reports an epoch to tracker and trial, unless that was done. Sets ``pruned`` if the pruner stops the run."""
        if self.tracked is not None:
            self.tracked.epoch(row)
        if self.trial is not None and row["epoch"] > self._reported_epochs:
            self._reported_epochs = row["epoch"]
            last = row["epoch"] == self.epochs  # stopping now would save no time and lose the result
            value = self._objective(row, self.objectives[0])
            self.pruned = self.trial.report(row["epoch"], value, last=last)

    def _objective(self, row: EpochMetrics, name: str) -> float:
        """The value of an objective. Raises UserError if the run has no such metric."""
        value = row.get(name)
        if value is None:
            raise UserError(f"sweep.objectives: {name} does not exist in this run; choose another column")
        return float(value)

    def _state(
        self,
        position: Position,
        partial_epoch: PartialEpoch | None,
        replicas: Trained,
        k: int,
        moments: list[dict[str, Any]],
    ) -> Saved:
        return Saved(
            position,
            self.history,
            replica_state(replicas.model, k),
            moments,
            partial_epoch,
            replicas.hyperparameters[k].seed,
            self.identity["config_hash"],
            self.identity["data_hash"],
            self.parts,
        )


def describe_epoch(row: EpochMetrics, epochs: int) -> str:
    """The metrics of an epoch in one line, for the log."""
    gate = "" if row["gate_mean"] is None else f"  gate {row['gate_mean']:.3f}"
    ranked = "".join(f"  {column(name).heading} {shown(name, row[name])}" for name in ranking_in([row]))
    texts = {name: shown(name, value) for name, value in row.items() if name in BY_NAME}
    return (
        f"epoch {row['epoch']}/{epochs}  train loss {texts['train_loss']} AUC {texts['train_auc']}  "
        f"val loss {texts['val_loss']} AUC {texts['val_auc']} gAUC {texts['val_gauc']} ECE {texts['val_ece']}  "
        f"gap {texts['train_val_gap']}{ranked}{gate}  Epoch time: {texts['epoch_seconds']} s"
    )
