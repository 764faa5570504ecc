"""The training loop: K replicas in lock-step, from the first epoch to the last.

Every random choice is a function of (seed, epoch) or (seed, step), so a run can be repeated, split or resumed without
a generator's state. What else the loop knows between two steps is in ``Epoch`` and in the replicas: that is what its
followers save, and where it goes on.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from mdaf.data.store.device_store import DeviceStore
from mdaf.errors import StoppedError
from mdaf.interruption import Leaving
from mdaf.sweeper.machine.device import return_cached_memory
from mdaf.sweeper.machine.step_clock import StepClock
from mdaf.sweeper.runs.checkpoint import START, Position, Underway
from mdaf.sweeper.training import metrics
from mdaf.sweeper.training.epoch_orders import EpochOrders
from mdaf.sweeper.training.evaluation import evaluate
from mdaf.sweeper.training.optim.schedule import learning_rate_factor
from mdaf.sweeper.training.replicas import Replicas, Trained
from mdaf.sweeper.training.settings import Row, Settings
from mdaf.sweeper.training.step import Stepper, longest_histories

log = logging.getLogger(__name__)


class DivergedError(StoppedError):
    """A replica's loss or its scores stopped being numbers."""


class NoValueError(StoppedError):
    """A replica whose validation AUC does not exist."""

    of_its_point = True


class Follower(Protocol):
    """What follows one replica through training."""

    def step(self, epoch: int, step: int, steps: int, loss: Tensor) -> None:
        """After each training step; ``loss`` is on the device, so that reading it is the follower's decision."""

    def epoch(self, row: Row, replicas: Trained, k: int) -> bool:
        """After each epoch; True asks the replica to stop."""

    def save(self, position: Position, underway: Underway, replicas: Replicas, k: int) -> None:
        """Within an epoch, now and then and before the loop is left: keeps what going on at ``position`` needs."""

    def failed(self, error: Exception) -> None:
        """Instead of the rest, when this replica cannot go on."""


class Watch(Protocol):
    """What looks after a loop. Whatever it raises ends the loop; of a ``Leaving`` the state is saved first."""

    def begin(self, epoch: int, step: int) -> None:
        """Before an epoch's steps, or those that are left after ``step``."""

    def step(self, epoch: int, step: int) -> None:
        """After each training step."""

    def beat(self) -> None:
        """After each batch of an evaluation."""

    def end(self, epoch: int, batch_ms: float | None) -> None:
        """After an epoch that is not the last, when everyone has saved it; its steps took ``batch_ms``, the median."""


class Unwatched:
    """A ``Watch`` that lets everything pass."""

    def begin(self, epoch: int, step: int) -> None: ...

    def step(self, epoch: int, step: int) -> None: ...

    def beat(self) -> None: ...

    def end(self, epoch: int, batch_ms: float | None) -> None: ...


@dataclass
class Epoch:
    """An epoch under way: how many of its steps are done, and what these have summed up.

    ``losses``  of each step, times its samples: (replica,) each
    ``scores``  logits in the order of the steps: (replica, batch) each
    """

    number: int
    step: int = 0
    losses: list[Tensor] = field(default_factory=list)
    scores: list[Tensor] = field(default_factory=list)
    seconds: float = 0.0  # spent on it before ``begun``
    begun: float = field(default_factory=time.perf_counter)

    @staticmethod
    def at(position: Position, underway: Sequence[Underway], device: torch.device) -> Epoch:
        """The epoch at a position, with what each of the replicas had summed up there."""
        if position.step == 0:
            return Epoch(position.epoch)
        losses = torch.stack([part.losses for part in underway]).to(device)
        logits = torch.stack([part.logits for part in underway]).to(device)
        seconds = max(part.seconds for part in underway)
        return Epoch(position.epoch, position.step, list(losses.unbind(dim=1)), [logits], seconds)

    def add(self, loss: Tensor, logits: Tensor) -> None:
        """Counts a step with its mean loss (replica,) and its logits (replica, batch)."""
        self.step += 1
        self.losses.append(loss * logits.shape[1])
        self.scores.append(logits)

    def elapsed(self) -> float:
        """Seconds spent on the epoch."""
        return self.seconds + time.perf_counter() - self.begun

    def of(self, k: int) -> Underway:
        """What replica k needs to go on here."""
        losses = torch.stack([loss[k] for loss in self.losses]).cpu()
        return Underway(losses, torch.cat([part[k] for part in self.scores]).cpu(), self.elapsed())


def train(
    replicas: Replicas,
    store: DeviceStore,
    settings: Settings,
    followers: Sequence[Follower],
    *,
    start: Epoch | None = None,
    best: Sequence[tuple[float, int]] = (),
    watch: Watch | None = None,
) -> None:
    """Trains all replicas for ``settings.epochs`` epochs or until each stops.

    ``followers[n]`` belongs to the replica numbered n, and hears of nobody else. ``start`` is where a loop that was
    left goes on, and ``best`` what ``best_of`` says of each replica there.
    """
    best = list(best) or [best_of([])] * len(replicas)
    stepper = Stepper(replicas, store, settings.step)
    stepper.rehearse(settings.batch_size)
    start, watch = start or Epoch(START.epoch), watch or Unwatched()
    most = settings.steps_per_epoch
    rows_seen = None if most is None else most * settings.batch_size
    with EpochOrders(store, settings.batch_size, settings.bucketing, rows_seen) as found:
        for epoch in range(start.number, settings.epochs + 1):
            under_way = start if epoch == start.number else Epoch(epoch)
            rows, batch_ms = train_epoch(stepper, found, settings, followers, under_way, watch)
            leaving = []
            for k, (number, row) in enumerate(zip(replicas.numbers, rows, strict=True)):
                if not isinstance(row, StoppedError) and row["val_auc"] > best[number][0]:
                    best[number] = (row["val_auc"], epoch)
                stale = settings.patience is not None and epoch - best[number][1] >= settings.patience
                if _follow(followers[number], row, replicas, k) or stale:
                    leaving.append(number)
            if leaving:
                replicas.leave(leaving)
                stepper.restart()
            if not len(replicas):
                return
            if epoch < settings.epochs:
                watch.end(epoch, batch_ms)
            return_cached_memory(replicas.device)


def best_of(history: Sequence[Row]) -> tuple[float, int]:
    """The best validation AUC of a replica's epochs, and the first one that had it."""
    best = (-math.inf, 0)
    for row in history:
        if row["val_auc"] > best[0]:
            best = (row["val_auc"], row["epoch"])
    return best


def _follow(follower: Follower, row: Row | StoppedError, replicas: Replicas, k: int) -> bool:
    """Hands a replica's epoch to its follower; True if it stops. What it raises ends this replica and no other."""
    try:
        if isinstance(row, StoppedError):
            raise row
        return follower.epoch(row, replicas, k)
    except Exception as error:
        follower.failed(error)
        return True


def diverged(what: str, epoch: int) -> DivergedError:
    """What ends a replica whose loss or scores are no numbers any more."""
    return DivergedError(f"{what} in epoch {epoch}; lower training.learning_rate or set training.grad_clip_norm")


def train_epoch(
    stepper: Stepper,
    found: EpochOrders,
    settings: Settings,
    followers: Sequence[Follower],
    epoch: Epoch,
    watch: Watch,
) -> tuple[list[Row | StoppedError], float | None]:
    """What is left of one pass over the training rows, then the evaluation.

    A row of ``metrics.csv`` each replica, or why it has none; and the median time of a step in milliseconds.
    """
    replicas, store = stepper.replicas, stepper.store
    clock = StepClock(replicas.device)
    seeds = [h.seed for h in replicas.hyperparameters]
    orders = found.of(seeds, epoch.number, last=epoch.number == settings.epochs)
    if epoch.step == 0:
        replicas.begin_epoch(epoch.number)
    try:
        watch.begin(epoch.number, epoch.step)
        _take_steps(stepper, settings, followers, epoch, orders, clock, watch)
        evaluated = evaluate(replicas, store, settings, watch.beat)
    except Leaving:
        _save(followers, epoch, replicas)
        raise
    p50, p99 = (clock.milliseconds(quantile) for quantile in (0.5, 0.99))
    factor = _rate_factor(settings, epoch.number, epoch.step - 1, epoch.step)
    train_loss = torch.stack(epoch.losses).sum(dim=0) / orders.shape[1]
    scores, labels = torch.cat(epoch.scores, dim=1), store.labels("train")
    seconds = epoch.elapsed()
    rows: list[Row | StoppedError] = []
    for k, found_metrics in enumerate(evaluated):
        if not math.isfinite(loss := float(train_loss[k])):
            rows.append(diverged(f"the training loss became {loss}", epoch.number))
            continue
        times = {"epoch_seconds": seconds, "batch_ms_p50": p50, "batch_ms_p99": p99}
        rate = replicas.hyperparameters[k].learning_rate * factor
        known = {"epoch": epoch.number, "train_loss": loss, **times, "learning_rate": rate}
        rows.append(row_of(found_metrics, known, scores[k], labels[orders[k]]))
    return rows, p50


def row_of(evaluated: Row | metrics.NotFiniteError, known: Row, scores: Tensor, labels: Tensor) -> Row | StoppedError:
    """An epoch's row: what was evaluated, what is ``known`` besides, and the AUC of training's own ``scores`` (row,).

    Where a score is no finite number, or the validation AUC does not exist, the error that says so.
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
    return row


def _take_steps(
    stepper: Stepper,
    settings: Settings,
    followers: Sequence[Follower],
    epoch: Epoch,
    orders: Tensor,
    clock: StepClock,
    watch: Watch,
) -> None:
    """The steps of an epoch that are left, on rows in ``orders`` (replica, row)."""
    replicas, size = stepper.replicas, settings.batch_size
    longest = longest_histories(stepper.store.lengths("train"), orders, size)
    saved = time.monotonic()
    replicas.model.train()
    for step in range(epoch.step, len(longest)):
        number = (epoch.number - 1) * len(longest) + step
        replicas.set_learning_rate(_rate_factor(settings, epoch.number, step, len(longest)))
        with clock:
            loss, logits = stepper.step(orders[:, step * size : (step + 1) * size], number, longest[step])
        epoch.add(loss, logits)
        for k, n in enumerate(replicas.numbers):
            followers[n].step(epoch.number, epoch.step, len(longest), loss[k])
        watch.step(epoch.number, epoch.step)
        if settings.checkpoint_seconds is not None and time.monotonic() - saved >= settings.checkpoint_seconds:
            _save(followers, epoch, replicas)
            saved = time.monotonic()
    replicas.settle()


def _save(followers: Sequence[Follower], epoch: Epoch, replicas: Replicas) -> None:
    """Has every replica keep the state within an epoch. Where that fails training goes on: the one before is there."""
    if epoch.step == 0:
        return
    replicas.settle()
    for k, number in enumerate(replicas.numbers):
        try:
            followers[number].save(Position(epoch.number, epoch.step), epoch.of(k), replicas, k)
        except StoppedError as error:
            log.warning("the state within epoch %d could not be saved: %s", epoch.number, error)


def _rate_factor(settings: Settings, epoch: int, step: int, steps: int) -> float:
    """``learning_rate_factor`` of step ``step`` (from 0) of the ``steps`` of an epoch."""
    total = steps * settings.epochs
    return learning_rate_factor((epoch - 1) * steps + step, total, settings.schedule, settings.warmup_fraction)
