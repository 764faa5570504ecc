"""The training loop: K replicas in lock-step, from the first epoch to the last.

Every random choice is a function of (seed, epoch) or (seed, step), so a run can be repeated, split or resumed without
the state of a random generator. All other state between two steps is in ``EpochState`` and in the replicas. Callbacks
save both, and a resumed loop starts from both.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from mdaf.conf.schema import Training
from mdaf.data.store.device_store import DeviceStore
from mdaf.errors import StoppedError
from mdaf.processes.interruption import SaveAndStop
from mdaf.sweeper.machine.device import return_memory_if_short
from mdaf.sweeper.machine.step_clock import StepClock
from mdaf.sweeper.runs.checkpoint import START, PartialEpoch, Position
from mdaf.sweeper.runs.metric_columns import MONITOR, EpochMetrics
from mdaf.sweeper.training.early_stopping import EarlyStopping
from mdaf.sweeper.training.epoch_orders import EpochOrders
from mdaf.sweeper.training.evaluating import metrics
from mdaf.sweeper.training.evaluating.evaluation import evaluate
from mdaf.sweeper.training.optim.schedule import Plateau, learning_rate_factor
from mdaf.sweeper.training.replicas import Replicas, Trained
from mdaf.sweeper.training.settings import LoopSettings
from mdaf.sweeper.training.stepping.step import Stepper, longest_histories

log = logging.getLogger(__name__)


class DivergedError(StoppedError):
    """The loss or the scores of a replica are not finite any more."""


class NoValueError(StoppedError):
    """A replica has no validation AUC, or none of the metric that decides its best epoch."""

    of_its_point = True


class Callback(Protocol):
    """The callbacks of one replica."""

    def step(self, epoch: int, step: int, steps: int, loss: Tensor) -> None:
        """Called after each training step. ``loss`` is on the device: reading it waits for the device."""

    def epoch(self, row: EpochMetrics, replicas: Trained, k: int, *, saves: bool) -> bool:
        """Called after each epoch; ``saves``: its state is due to be saved. Returns True to stop the replica."""

    def save(self, position: Position, partial_epoch: PartialEpoch | None, replicas: Replicas, k: int) -> None:
        """Called at intervals within an epoch, and before the loop is left: begins to save the state at ``position``.

        ``partial_epoch`` is None between two epochs.
        """

    def wait(self) -> None:
        """Called before the next ``save`` and before the loop is left: returns when the state is on the disk."""

    def failed(self, error: Exception) -> None:
        """Called when this replica cannot go on; no other callback of it is called afterwards."""


class Watch(Protocol):
    """Monitors a loop. What it raises ends the loop; for ``SaveAndStop`` the state is saved first."""

    def begin(self, epoch: int, step: int) -> None:
        """Called before the steps of an epoch; ``step`` of them are done already."""

    def step(self, epoch: int, step: int) -> None:
        """Called after each training step."""

    def beat(self) -> None:
        """Called after each batch of an evaluation."""

    def end(self, epoch: int, batch_ms: float | None) -> None:
        """Called after each epoch but the last, when it is saved. ``batch_ms`` is the median time of its steps."""


class NoWatch:
    """A ``Watch`` that never ends the loop."""

    def begin(self, epoch: int, step: int) -> None: ...

    def step(self, epoch: int, step: int) -> None: ...

    def beat(self) -> None: ...

    def end(self, epoch: int, batch_ms: float | None) -> None: ...


@dataclass
class EpochState:
    """The state within an epoch: how many steps are done, and what they have accumulated.

    ``step``     steps done
    ``losses``   the mean loss of each step times its samples, (replica,) each
    ``scores``   the logits of each step, (replica, batch) each
    ``seconds``  spent on the epoch by earlier processes
    """

    number: int
    step: int = 0
    losses: list[Tensor] = field(default_factory=list)
    scores: list[Tensor] = field(default_factory=list)
    seconds: float = 0.0
    begun: float = field(default_factory=time.perf_counter)

    @staticmethod
    def at(position: Position, partial_epoch: Sequence[PartialEpoch], device: torch.device) -> EpochState:
        """The state at a position, from what each replica had accumulated there."""
        if position.step == 0:
            return EpochState(position.epoch)
        losses = torch.stack([part.losses for part in partial_epoch]).to(device)
        logits = torch.stack([part.logits for part in partial_epoch]).to(device)
        seconds = max(part.seconds for part in partial_epoch)
        return EpochState(position.epoch, position.step, list(losses.unbind(dim=1)), [logits], seconds)

    def add(self, loss: Tensor, logits: Tensor) -> None:
        """Adds a step's mean loss (replica,) and its logits (replica, batch)."""
        self.step += 1
        self.losses.append(loss * logits.shape[1])
        self.scores.append(logits)

    def elapsed(self) -> float:
        """Seconds spent on the epoch."""
        return self.seconds + time.perf_counter() - self.begun

    def of(self, k: int) -> PartialEpoch:
        """The part of the state that belongs to replica k."""
        losses = torch.stack([loss[k] for loss in self.losses]).cpu()
        return PartialEpoch(losses, torch.cat([part[k] for part in self.scores]).cpu(), self.elapsed())


def train(
    replicas: Replicas,
    store: DeviceStore,
    settings: LoopSettings,
    callbacks: Sequence[Callback],
    *,
    start: EpochState | None = None,
    histories: Sequence[Sequence[EpochMetrics]] = (),
    watch: Watch | None = None,
    orders: EpochOrders | None = None,
) -> None:
    """Trains all replicas for ``settings.training.epochs`` epochs or until each stops.

    ``callbacks[n]`` belongs to replica number n. A resumed loop starts from ``start``; ``histories`` are the epochs of
    each replica before it. ``orders`` may have begun with the first epoch; they end with this call.
    """
    histories = list(histories) or [()] * len(replicas)
    patience, monitor = settings.training.patience, settings.training.monitor
    stopping = [EarlyStopping.after(history, patience, monitor) for history in histories]
    plateaus = [_plateau(settings.training).after(history) for history in histories]
    stepper = Stepper(replicas, store, settings.step)
    stepper.rehearse(settings.training.batch_size)
    start, watch = start or EpochState(START.epoch), watch or NoWatch()
    last, saves = settings.training.epochs, Saves(settings.training.checkpoint_seconds)
    with orders or orders_of(store, settings) as epoch_orders:
        for epoch in range(start.number, last + 1):
            state = start if epoch == start.number else EpochState(epoch)
            shares = _shares(settings.training, replicas, plateaus)
            rows, batch_ms = train_epoch(stepper, epoch_orders, settings, callbacks, state, watch, shares, saves)
            due = saves.due_after_epoch()
            stopped = []
            for k, (number, row) in enumerate(zip(replicas.numbers, rows, strict=True)):
                if not isinstance(row, StoppedError):
                    stopping[number].add(row)
                    plateaus[number].add(row)
                ends = epoch == last or stopping[number].stops
                if _stops(callbacks[number], row, replicas, k, saves=due or ends) or ends:
                    stopped.append(number)
            if epoch == last:
                return
            if stopped:
                replicas.leave(stopped)
                stepper.restart()
            if not len(replicas):
                return
            try:
                watch.end(epoch, batch_ms)
            except SaveAndStop:
                if not due:
                    _save(callbacks, EpochState(epoch + 1), replicas)
                _wait_for_saves(callbacks, EpochState(epoch + 1), replicas)
                raise
            return_memory_if_short(replicas.device)


class Saves:
    """When a state is due: ``seconds`` after the last one, within an epoch too; None: after each epoch."""

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._last = time.monotonic()
        self._within = False

    def due_within_epoch(self) -> bool:
        """Whether a state is due after a step. If so, it counts as saved now."""
        due = self._seconds is not None and self._is_due(self._seconds)
        self._within |= due
        return due

    def any_within_epoch(self) -> bool:
        """Whether a state was due within this epoch, which ends now."""
        found, self._within = self._within, False
        return found

    def due_after_epoch(self) -> bool:
        """The same at the end of an epoch."""
        return self._is_due(self._seconds or 0.0)

    def _is_due(self, seconds: float) -> bool:
        now = time.monotonic()
        if now - self._last < seconds:
            return False
        self._last = now
        return True


def orders_of(store: DeviceStore, settings: LoopSettings) -> EpochOrders:
    """The orders of the training rows in a loop with these settings."""
    steps, size = settings.training.steps_per_epoch, settings.training.batch_size
    return EpochOrders(store, size, settings.bucketing, None if steps is None else steps * size)


def _stops(callback: Callback, row: EpochMetrics | StoppedError, replicas: Replicas, k: int, *, saves: bool) -> bool:
    """Calls a replica's callback after an epoch; True if the replica stops. An exception stops only this replica."""
    try:
        if isinstance(row, StoppedError):
            raise row
        return callback.epoch(row, replicas, k, saves=saves)
    except Exception as error:
        callback.failed(error)
        return True


def diverged(what: str, epoch: int) -> DivergedError:
    """The error of a replica whose loss or scores are not finite any more."""
    return DivergedError(f"{what} in epoch {epoch}; lower training.learning_rate or set training.grad_clip_norm")


def train_epoch(
    stepper: Stepper,
    epoch_orders: EpochOrders,
    settings: LoopSettings,
    callbacks: Sequence[Callback],
    epoch: EpochState,
    watch: Watch,
    shares: Sequence[float],
    saves: Saves,
) -> tuple[list[EpochMetrics | StoppedError], float | None]:
    """Takes the steps of an epoch that are left, then evaluates.

    ``shares``  the share of each replica's learning rate that plateaus have left.
    ``saves``   says when the state is due.

    Returns for each replica its row of ``metrics.csv`` or the error that ends it, and the median time of a step in
    milliseconds.
    """
    replicas, store = stepper.replicas, stepper.store
    clock = StepClock(replicas.device)
    seeds = [h.seed for h in replicas.hyperparameters]
    order = epoch_orders.of(seeds, epoch.number, last=epoch.number == settings.training.epochs)
    if epoch.step == 0:
        replicas.begin_epoch(epoch.number)
    try:
        watch.begin(epoch.number, epoch.step)
        _take_steps(stepper, settings, callbacks, epoch, order, clock, watch, shares, saves)
        evaluated = evaluate(replicas, store, settings, watch.beat)
    except SaveAndStop:
        _save(callbacks, epoch, replicas)
        _wait_for_saves(callbacks, epoch, replicas)
        raise
    if saves.any_within_epoch():
        _wait_for_saves(callbacks, epoch, replicas)
    p50, p99 = (clock.milliseconds(quantile) for quantile in (0.5, 0.99))
    factor = _rate_factor(settings.training, epoch.number, epoch.step - 1, epoch.step)
    train_loss = torch.stack(epoch.losses).sum(dim=0) / order.shape[1]
    scores, labels = torch.cat(epoch.scores, dim=1), store.labels("train")
    seconds = epoch.elapsed()
    rows: list[EpochMetrics | StoppedError] = []
    for k, found_metrics in enumerate(evaluated):
        if not math.isfinite(loss := float(train_loss[k])):
            rows.append(diverged(f"the training loss became {loss}", epoch.number))
            continue
        times = {"epoch_seconds": seconds, "batch_ms_p50": p50, "batch_ms_p99": p99}
        rate = replicas.hyperparameters[k].learning_rate * (factor * shares[k])
        known = {"epoch": epoch.number, "train_loss": loss, **times, "learning_rate": rate}
        rows.append(row_of(found_metrics, known, scores[k], labels[order[k]], settings.training.monitor))
    return rows, p50


def row_of(
    evaluated: EpochMetrics | metrics.NotFiniteError,
    known: EpochMetrics,
    scores: Tensor,
    labels: Tensor,
    monitor: str = MONITOR,
) -> EpochMetrics | StoppedError:
    """An epoch's row of ``metrics.csv``: ``evaluated``, ``known`` and the AUC of the training ``scores`` (row,).

    Returns an error instead if a score is not finite, or if there is no validation AUC or no ``monitor``.
    """
    try:
        if isinstance(evaluated, metrics.NotFiniteError):
            raise evaluated
        row = evaluated | known | {"running_train_auc": metrics.auc(scores, labels)}
    except metrics.NotFiniteError as error:
        return diverged(f"the model diverged: {error}", known["epoch"])
    row = {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in row.items()}
    if row["val_auc"] is None:
        return NoValueError("there is no validation AUC, since all validation rows have the same label")
    if row[monitor] is None:
        return NoValueError(f"training.monitor: {monitor} does not exist in this run; choose another metric")
    return row


def _take_steps(
    stepper: Stepper,
    settings: LoopSettings,
    callbacks: Sequence[Callback],
    epoch: EpochState,
    order: Tensor,
    clock: StepClock,
    watch: Watch,
    shares: Sequence[float],
    saves: Saves,
) -> None:
    """Takes the steps of an epoch that are left, on the rows in ``order`` (replica, row)."""
    replicas, size = stepper.replicas, settings.training.batch_size
    longest = longest_histories(stepper.store.lengths("train"), order, size)
    replicas.model.train()
    for step in range(epoch.step, len(longest)):
        number = (epoch.number - 1) * len(longest) + step
        factor = _rate_factor(settings.training, epoch.number, step, len(longest))
        replicas.set_learning_rates([factor * share for share in shares])
        with clock:
            loss, logits = stepper.step(order[:, step * size : (step + 1) * size], number, longest[step])
        epoch.add(loss, logits)
        for k, n in enumerate(replicas.numbers):
            callbacks[n].step(epoch.number, epoch.step, len(longest), loss[k])
        watch.step(epoch.number, epoch.step)
        if saves.due_within_epoch():
            _save(callbacks, epoch, replicas)
    replicas.settle()


def _save(callbacks: Sequence[Callback], epoch: EpochState, replicas: Replicas) -> None:
    """Begins to save every replica's state in an epoch. If that fails, training goes on; older checkpoints remain."""
    position = Position(epoch.number, epoch.step)
    if position == START:
        return
    replicas.settle()
    _wait_for_saves(callbacks, epoch, replicas)
    for k, number in enumerate(replicas.numbers):
        part = epoch.of(k) if epoch.step else None
        with _warned(epoch):
            callbacks[number].save(position, part, replicas, k)


def _wait_for_saves(callbacks: Sequence[Callback], epoch: EpochState, replicas: Replicas) -> None:
    """Returns when what ``_save`` began is on the disk, and says what could not be saved."""
    for number in replicas.numbers:
        with _warned(epoch):
            callbacks[number].wait()


@contextmanager
def _warned(epoch: EpochState) -> Iterator[None]:
    try:
        yield
    except StoppedError as error:
        log.warning("the state within epoch %d could not be saved: %s", epoch.number, error)


def _rate_factor(training: Training, epoch: int, step: int, steps: int) -> float:
    """``learning_rate_factor`` at ``step`` (from 0) of an epoch of ``steps`` steps."""
    total = steps * training.epochs
    return learning_rate_factor((epoch - 1) * steps + step, total, training.schedule, training.warmup_fraction)


def _plateau(training: Training) -> Plateau:
    return Plateau(
        training.plateau_epochs, training.plateau_factor, training.plateau_lowest_rate, monitor=training.monitor
    )


def _shares(training: Training, replicas: Replicas, plateaus: Sequence[Plateau]) -> list[float]:
    """The share of each replica's learning rate that its own plateaus have left."""
    if training.schedule != "plateau":
        return [1.0] * len(replicas)
    rates = [h.learning_rate for h in replicas.hyperparameters]
    return [plateaus[number].share_of(rate) for number, rate in zip(replicas.numbers, rates, strict=True)]
