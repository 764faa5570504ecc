"""The training loop: K replicas in lock-step, from the first epoch to the last.

Every random choice is a function of (seed, epoch) or (seed, step), so a run can be repeated, split or resumed without
a generator's state. What else the loop knows between two steps is in ``Epoch`` and in the replicas: that is what its
followers save, and where it goes on.
"""

from __future__ import annotations

import functools
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from data.batches import DeviceStore
from data.streams import stream_seed
from model.layers import set_dropout
from sweeper import metrics
from sweeper.checkpoint import START, Position, Underway
from sweeper.device import computing_in, default_positions, return_cached_memory
from sweeper.errors import StoppedError
from sweeper.interruption import Leaving
from sweeper.monitor import StepClock
from sweeper.orders import EpochOrders
from sweeper.pieces import passes
from sweeper.replicas import Replicas
from sweeper.step import Stepper, StepSettings, longest_histories

log = logging.getLogger(__name__)

Row = dict[str, Any]  # one line of metrics.csv; None where a figure does not exist, never NaN


@dataclass(frozen=True)
class Settings:
    """What all replicas of a loop share; the keys of the ``training`` group.

    ``step``                how a step of ``batch_size`` samples is computed.
    ``eval_batch_size``     samples of a replica per forward pass in evaluation, at most.
    ``bucketing``           batches within which samples are sorted by history length; 0: none.
    ``checkpoint_seconds``  between two saves within an epoch; None: at its end only.
    ``steps_per_epoch``     at most; None: every training row is seen.
    """

    epochs: int
    batch_size: int
    eval_batch_size: int
    schedule: Literal["constant", "cosine"]
    warmup_fraction: float
    patience: int | None
    train_sample: int
    step: StepSettings
    bucketing: int = 0
    checkpoint_seconds: float | None = None
    steps_per_epoch: int | None = None


class DivergedError(StoppedError):
    """A replica's loss or its scores stopped being numbers."""


class NoValueError(StoppedError):
    """A replica whose validation AUC does not exist."""

    of_its_point = True


class Follower(Protocol):
    """What follows one replica through training."""

    def step(self, epoch: int, step: int, steps: int, loss: Tensor) -> None:
        """After each training step; ``loss`` is on the device, so that reading it is the follower's decision."""

    def epoch(self, row: Row, replicas: Replicas, k: int) -> bool:
        """After each epoch; True asks the replica to stop."""

    def save(self, position: Position, underway: Underway, replicas: Replicas, k: int) -> None:
        """Within an epoch, now and then and before the loop is left: keeps what going on at ``position`` needs."""

    def failed(self, error: Exception) -> None:
        """Instead of the rest, when this replica cannot go on."""


@dataclass(frozen=True)
class Prediction:
    """``logits`` (replica, row) and ``gate`` of the same shape, if the model has one."""

    logits: Tensor
    gate: Tensor | None


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


def learning_rate_factor(step: int, steps: int, schedule: str, warmup_fraction: float) -> float:
    """The share of the learning rate at ``step`` of ``steps``: a linear warmup, then constant or half a cosine to 0."""
    warmup = int(warmup_fraction * steps)
    if step < warmup:
        return (step + 1) / warmup
    if schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def evaluate(
    replicas: Replicas, store: DeviceStore, settings: Settings, beat: Callable[[], None] | None = None
) -> list[Row | metrics.NotFiniteError]:
    """Validation metrics, gate statistics, and the AUC on a fixed sample of the training rows, for each replica.

    NaN where a metric does not exist; instead of all of them what is wrong with a replica's scores, where they are not
    finite.
    """
    validation = store.rows("validation").expand(len(replicas), -1)
    sample = torch.stack(
        [train_sample(store.rows("train"), settings.train_sample, h.seed) for h in replicas.hyperparameters]
    )
    size, precision = settings.eval_batch_size, settings.step.precision
    predicted = predict(replicas, store, "validation", validation, size, precision, beat)
    on_train = predict(replicas, store, "train", sample, size, precision, beat)
    labels, users = store.labels("validation"), store.users("validation")
    train_labels = store.labels("train")
    rows: list[Row | metrics.NotFiniteError] = []
    for k in range(len(replicas)):
        try:
            logits = predicted.logits[k]
            train_auc = metrics.auc(on_train.logits[k], train_labels[sample[k]])
            row = {
                "train_auc": train_auc,
                "val_loss": metrics.log_loss(logits, labels),
                "val_auc": metrics.auc(logits, labels),
                "val_gauc": metrics.grouped_auc(logits, labels, users),
            }
            row["train_val_gap"] = train_auc - row["val_auc"]
            rows.append(row | gate_statistics(predicted.gate[k] if predicted.gate is not None else None))
        except metrics.NotFiniteError as error:
            rows.append(error)
    return rows


def train_sample(rows: Tensor, size: int, seed: int) -> Tensor:
    """The training rows on which ``train_auc`` is measured: at most ``size``, the same in every epoch; (sample,)."""
    return rows[_sampled(len(rows), size, seed).to(rows.device)]


@functools.lru_cache(maxsize=64)
def _sampled(rows: int, size: int, seed: int) -> Tensor:
    """At most ``size`` of the numbers below ``rows``, on the CPU; what few loops ask for at every epoch is kept."""
    generator = torch.Generator().manual_seed(stream_seed(seed, "train_sample"))
    return torch.randperm(rows, generator=generator)[:size].clone()


@torch.no_grad()
def predict(
    replicas: Replicas,
    store: DeviceStore,
    split: str,
    rows: Tensor,
    batch_size: int,
    precision: str = "fp32",
    beat: Callable[[], None] | None = None,
) -> Prediction:
    """Scores rows (replica, row) of a split in evaluation mode.

    Rows are visited by history length, so that hardly any padding is computed, and put back in their places; at most
    ``batch_size`` at a time, and on a CPU in pieces as training's.
    ``beat`` is called after each; what it raises ends the evaluation.
    """
    replicas.model.eval()
    set_dropout(replicas.model, None, None)
    lengths, order = store.lengths(split)[rows].sort(dim=1, stable=True)
    sizes = passes(lengths, batch_size, default_positions(replicas.device))
    logits = torch.empty(rows.shape, device=rows.device)
    gate: Tensor | None = None
    for part in order.split(sizes, dim=1):
        with computing_in(precision, replicas.device):
            output = replicas.model(store.gather(split, rows.gather(1, part)))
        logits.scatter_(1, part, output.logits)
        if output.gate is not None:
            gate = torch.empty_like(logits) if gate is None else gate
            gate.scatter_(1, part, output.gate)
        if beat is not None:
            beat()
    return Prediction(logits, gate)


def gate_statistics(gate: Tensor | None) -> Row:
    """Mean, spread and range of the static branch's share over the rows (row,); empty for a model without a gate."""
    names = ("gate_mean", "gate_std", "gate_median", "gate_min", "gate_max")
    if gate is None:
        return dict.fromkeys(names)
    metrics.check_finite(gate, "gates")
    values = (gate.mean(), gate.std(correction=0), gate.median(), gate.min(), gate.max())
    return {name: float(value) for name, value in zip(names, values, strict=True)}
