"""The training loop: K replicas in lock-step, from the first epoch to the last.

Every random choice is a function of (seed, epoch) or (seed, step), so a run can be repeated, split or resumed without
a generator's state.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from data.batches import DeviceStore, epoch_order
from data.streams import stream_seed
from model.layers import set_dropout
from sweeper import metrics
from sweeper.device import computing_in, return_cached_memory
from sweeper.monitor import StepClock
from sweeper.replicas import Replicas
from sweeper.step import Stepper, StepSettings, longest_histories

Row = dict[str, Any]  # one line of metrics.csv


@dataclass(frozen=True)
class Settings:
    """What all replicas of a loop share; the keys of the ``training`` group.

    ``step``       how a step of ``batch_size`` samples is computed.
    ``bucketing``  batches within which samples are sorted by history length; 0: none.
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


class DivergedError(RuntimeError):
    """A replica's loss stopped being a number."""


class Follower(Protocol):
    """What follows one replica through training."""

    def step(self, epoch: int, step: int, steps: int, loss: Tensor) -> None:
        """After each training step; ``loss`` is on the device, so that reading it is the follower's decision."""

    def epoch(self, row: Row, replicas: Replicas, k: int) -> bool:
        """After each epoch; True asks the replica to stop."""

    def failed(self, error: Exception) -> None:
        """Instead of the rest, when this replica cannot go on."""


@dataclass(frozen=True)
class Prediction:
    """``logits`` (replica, row) and ``gate`` of the same shape, if the model has one."""

    logits: Tensor
    gate: Tensor | None


def train(replicas: Replicas, store: DeviceStore, settings: Settings, followers: Sequence[Follower]) -> None:
    """Trains all replicas for ``settings.epochs`` epochs or until each stops.

    ``followers[n]`` belongs to the replica numbered n, and hears of nobody else.
    """
    steps = math.ceil(len(store.labels("train")) / settings.batch_size)
    best = [(-math.inf, 0)] * len(replicas)
    stepper = Stepper(replicas, store, settings.step)
    for epoch in range(1, settings.epochs + 1):
        rows = train_epoch(stepper, settings, followers, epoch, steps)
        leaving = []
        for k, (number, row) in enumerate(zip(replicas.numbers, rows, strict=True)):
            if row["val_auc"] > best[number][0]:
                best[number] = (row["val_auc"], epoch)
            stale = settings.patience is not None and epoch - best[number][1] >= settings.patience
            if _follow(followers[number], row, replicas, k) or stale:
                leaving.append(number)
        if leaving:
            replicas.leave(leaving)
            stepper.restart()
        if not len(replicas):
            return
        return_cached_memory(replicas.device)


def _follow(follower: Follower, row: Row, replicas: Replicas, k: int) -> bool:
    """Hands a replica's epoch to its follower; True if it stops. What it raises ends this replica and no other."""
    try:
        if not math.isfinite(row["train_loss"]):
            raise DivergedError(f"the training loss became {row['train_loss']} in epoch {row['epoch']}")
        return follower.epoch(row, replicas, k)
    except Exception as error:
        follower.failed(error)
        return True


def train_epoch(
    stepper: Stepper, settings: Settings, followers: Sequence[Follower], epoch: int, steps: int
) -> list[Row]:
    """One pass over the training rows, then the evaluation; a row of ``metrics.csv`` for each replica."""
    begun = time.perf_counter()
    replicas, store = stepper.replicas, stepper.store
    clock = StepClock(replicas.device)
    order_of = functools.partial(
        epoch_order,
        store.rows("train"),
        epoch=epoch,
        lengths=store.lengths("train"),
        batch_size=settings.batch_size,
        window=settings.bucketing,
    )
    orders = torch.stack([order_of(seed=h.seed) for h in replicas.hyperparameters])
    longest = longest_histories(store.lengths("train"), orders, settings.batch_size)
    losses, scores = [], []
    replicas.begin_epoch(epoch)
    replicas.model.train()
    for step in range(steps):
        number = (epoch - 1) * steps + step
        factor = learning_rate_factor(number, steps * settings.epochs, settings.schedule, settings.warmup_fraction)
        replicas.set_learning_rate(factor)
        chosen = orders[:, step * settings.batch_size : (step + 1) * settings.batch_size]
        with clock:
            loss, logits = stepper.step(chosen, number, longest[step])
        losses.append(loss * chosen.shape[1])
        scores.append(logits)
        for k, n in enumerate(replicas.numbers):
            followers[n].step(epoch, step + 1, steps, loss[k])
    train_loss = torch.stack(losses).sum(dim=0) / orders.shape[1]
    running = Prediction(torch.cat(scores, dim=1), None)
    rows = evaluate(replicas, store, settings)
    seconds = time.perf_counter() - begun
    p50, p99 = clock.milliseconds(0.5), clock.milliseconds(0.99)
    labels = store.labels("train")
    for k, row in enumerate(rows):
        row.update(
            epoch=epoch,
            train_loss=float(train_loss[k]),
            running_train_auc=metrics.auc(running.logits[k], labels[orders[k]]),
            epoch_seconds=seconds,
            batch_ms_p50=p50,
            batch_ms_p99=p99,
            learning_rate=replicas.hyperparameters[k].learning_rate * factor,
        )
    return rows


def learning_rate_factor(step: int, steps: int, schedule: str, warmup_fraction: float) -> float:
    """The share of the learning rate at ``step`` of ``steps``: a linear warmup, then constant or half a cosine to 0."""
    warmup = int(warmup_fraction * steps)
    if step < warmup:
        return (step + 1) / warmup
    if schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def evaluate(replicas: Replicas, store: DeviceStore, settings: Settings) -> list[Row]:
    """Validation metrics, gate statistics, and the AUC on a fixed sample of the training rows, for each replica."""
    validation = store.rows("validation").expand(len(replicas), -1)
    sample = torch.stack(
        [train_sample(store.rows("train"), settings.train_sample, h.seed) for h in replicas.hyperparameters]
    )
    size, precision = settings.eval_batch_size, settings.step.precision
    predicted = predict(replicas, store, "validation", validation, size, precision)
    on_train = predict(replicas, store, "train", sample, size, precision)
    labels, users = store.labels("validation"), store.users("validation")
    train_labels = store.labels("train")
    rows = []
    for k in range(len(replicas)):
        logits = predicted.logits[k]
        train_auc = metrics.auc(on_train.logits[k], train_labels[sample[k]])
        row = {
            "train_auc": train_auc,
            "val_loss": metrics.log_loss(logits, labels),
            "val_auc": metrics.auc(logits, labels),
            "val_gauc": metrics.grouped_auc(logits, labels, users),
        }
        row["train_val_gap"] = train_auc - row["val_auc"]
        row.update(gate_statistics(predicted.gate[k] if predicted.gate is not None else None))
        rows.append(row)
    return rows


def train_sample(rows: Tensor, size: int, seed: int) -> Tensor:
    """The training rows on which ``train_auc`` is measured: at most ``size``, the same in every epoch; (sample,)."""
    generator = torch.Generator().manual_seed(stream_seed(seed, "train_sample"))
    return rows[torch.randperm(len(rows), generator=generator)[:size].to(rows.device)]


@torch.no_grad()
def predict(
    replicas: Replicas, store: DeviceStore, split: str, rows: Tensor, batch_size: int, precision: str = "fp32"
) -> Prediction:
    """Scores rows (replica, row) of a split in evaluation mode.

    Rows are visited by history length, so that hardly any padding is computed, and put back in their places.
    """
    replicas.model.eval()
    set_dropout(replicas.model, None, None)
    order = store.lengths(split)[rows].argsort(dim=1, stable=True)
    logits = torch.empty(rows.shape, device=rows.device)
    gate: Tensor | None = None
    for start in range(0, rows.shape[1], batch_size):
        part = order[:, start : start + batch_size]
        with computing_in(precision, replicas.device):
            output = replicas.model(store.gather(split, rows.gather(1, part)))
        logits.scatter_(1, part, output.logits)
        if output.gate is not None:
            gate = torch.empty_like(logits) if gate is None else gate
            gate.scatter_(1, part, output.gate)
    return Prediction(logits, gate)


def gate_statistics(gate: Tensor | None) -> Row:
    """Mean, spread and range of the static branch's share over the rows (row,); empty for a model without a gate."""
    names = ("gate_mean", "gate_std", "gate_median", "gate_min", "gate_max")
    if gate is None:
        return dict.fromkeys(names)
    values = (gate.mean(), gate.std(correction=0), gate.median(), gate.min(), gate.max())
    return {name: float(value) for name, value in zip(names, values, strict=True)}
