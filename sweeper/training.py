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
from torch.nn import functional as F

from data.batches import DeviceStore, epoch_order
from data.streams import stream_seed
from model.layers import set_dropout
from sweeper import metrics
from sweeper.device import return_cached_memory
from sweeper.monitor import StepClock
from sweeper.replicas import Replicas

Row = dict[str, Any]  # one line of metrics.csv


@dataclass(frozen=True)
class Settings:
    """What all replicas of a loop share; the keys of the ``training`` group.

    ``micro_batch``  samples per forward pass, or None for the whole batch; the optimizer steps by ``batch_size``.
    ``bucketing``    batches within which samples are sorted by history length; 0: none.
    """

    epochs: int
    batch_size: int
    eval_batch_size: int
    grad_clip_norm: float | None
    schedule: Literal["constant", "cosine"]
    warmup_fraction: float
    patience: int | None
    train_sample: int
    micro_batch: int | None
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
    for epoch in range(1, settings.epochs + 1):
        rows = train_epoch(replicas, store, settings, followers, epoch, steps)
        leaving = []
        for k, (number, row) in enumerate(zip(replicas.numbers, rows, strict=True)):
            if not math.isfinite(row["train_loss"]):
                followers[number].failed(
                    DivergedError(f"the training loss became {row['train_loss']} in epoch {epoch}")
                )
                leaving.append(number)
                continue
            if row["val_auc"] > best[number][0]:
                best[number] = (row["val_auc"], epoch)
            stale = settings.patience is not None and epoch - best[number][1] >= settings.patience
            if followers[number].epoch(row, replicas, k) or stale:
                leaving.append(number)
        if leaving:
            replicas.leave(leaving)
        if not len(replicas):
            return
        return_cached_memory(replicas.device)


def train_epoch(
    replicas: Replicas,
    store: DeviceStore,
    settings: Settings,
    followers: Sequence[Follower],
    epoch: int,
    steps: int,
) -> list[Row]:
    """One pass over the training rows, then the evaluation; a row of ``metrics.csv`` for each replica."""
    begun = time.perf_counter()
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
    losses, scores = [], []
    replicas.model.train()
    for step in range(steps):
        number = (epoch - 1) * steps + step
        factor = learning_rate_factor(number, steps * settings.epochs, settings.schedule, settings.warmup_fraction)
        replicas.set_learning_rate(factor)
        chosen = orders[:, step * settings.batch_size : (step + 1) * settings.batch_size]
        with clock:
            loss, logits = train_step(replicas, store, chosen, settings, number)
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


def train_step(
    replicas: Replicas, store: DeviceStore, chosen: Tensor, settings: Settings, number: int
) -> tuple[Tensor, Tensor]:
    """One optimizer step on rows ``chosen`` (replica, batch).

    Returns each replica's mean loss (replica,) and its logits (replica, batch), both detached. The gradient is that of
    the whole batch, however it is cut into micro-batches; these hold histories of like length, to spare padding.
    """
    size = chosen.shape[1]
    pieces, order = [chosen], None
    if settings.micro_batch is not None and settings.micro_batch < size:
        order = store.lengths("train")[chosen].argsort(dim=1, stable=True)
        pieces = list(chosen.gather(1, order).split(settings.micro_batch, dim=1))
    smoothing = replicas.column("label_smoothing").unsqueeze(1)
    losses, logits = [], []
    for piece, rows in enumerate(pieces):
        batch = store.gather("train", rows)
        replicas.draw_dropout(number, piece)
        output = replicas.model(batch)
        soft_labels = batch.labels * (1 - smoothing) + smoothing / 2
        loss = F.binary_cross_entropy_with_logits(output.logits, soft_labels, reduction="none").sum(dim=1) / size
        loss.sum().backward()
        losses.append(loss.detach())
        logits.append(output.logits.detach())
    replicas.step(settings.grad_clip_norm)
    scores = torch.cat(logits, dim=1)
    if order is not None:
        scores = torch.empty_like(scores).scatter_(1, order, scores)
    return torch.stack(losses).sum(dim=0), scores


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
    predicted = predict(replicas, store, "validation", validation, settings.eval_batch_size)
    on_train = predict(replicas, store, "train", sample, settings.eval_batch_size)
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
def predict(replicas: Replicas, store: DeviceStore, split: str, rows: Tensor, batch_size: int) -> Prediction:
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
