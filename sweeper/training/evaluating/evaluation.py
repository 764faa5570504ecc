"""Evaluation: loss and metrics on the rows of a split."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from mdaf.data.store.device_store import DeviceStore
from mdaf.hardware import gpus
from mdaf.model.layers.basic import set_dropout
from mdaf.streams import stream_seed
from mdaf.sweeper.machine.device import computing_in
from mdaf.sweeper.machine.threads import threads_for, weights_of_layers, workers_for
from mdaf.sweeper.machine.workers import at_once
from mdaf.sweeper.runs.metric_columns import KINDS, EpochMetrics, cut_of
from mdaf.sweeper.training.evaluating import metrics
from mdaf.sweeper.training.evaluating.ranking import ranking_metrics
from mdaf.sweeper.training.replicas import Trained
from mdaf.sweeper.training.settings import LoopSettings
from mdaf.sweeper.training.stepping.microbatches import (
    default_positions,
    forward_pass_sizes,
    position_weight,
    rows_of_a_pass,
)
from mdaf.sweeper.training.stepping.parallel import can_share


@dataclass(frozen=True)
class Prediction:
    """``logits`` (replica, row), and ``gate`` of the same shape if the model has a fusion gate."""

    logits: Tensor
    gate: Tensor | None


def evaluate(
    replicas: Trained, store: DeviceStore, settings: LoopSettings, beat: Callable[[], None] | None = None
) -> list[EpochMetrics | metrics.NotFiniteError]:
    """Validation metrics, gate statistics and the AUC on a fixed sample of training rows, for each replica.

    A metric that does not exist is NaN. A replica whose scores are not finite gets the error instead of metrics.
    """
    validation = store.rows("validation").expand(len(replicas), -1)
    sample = torch.stack(
        [train_sample(store.rows("train"), settings.training.train_sample, h.seed) for h in replicas.hyperparameters]
    )
    size, precision = settings.training.eval_batch_size, settings.step.precision
    predicted = predict(replicas, store, "validation", validation, size, precision, beat)
    on_train = predict(replicas, store, "train", sample, size, precision, beat)
    measured = Measured.of(store, "validation", cuts_of(settings.training.ranking_at, settings.training.monitor))
    train_labels = store.labels("train")
    rows: list[EpochMetrics | metrics.NotFiniteError] = []
    for k in range(len(replicas)):
        try:
            logits = predicted.logits[k]
            train_auc = metrics.auc(on_train.logits[k], train_labels[sample[k]])
            row: EpochMetrics = {"train_auc": train_auc, **measured.figures(logits)}
            row["train_val_gap"] = train_auc - row["val_auc"]
            rows.append(row | gate_statistics(predicted.gate[k] if predicted.gate is not None else None))
        except metrics.NotFiniteError as error:
            rows.append(error)
    return rows


@dataclass(frozen=True)
class Measured:
    """The rows of a split on which scores are measured; labels, users (row,).

    ``held``    whether the item is in the user's history, (row,); None without items.
    ``groups``  the candidate group of each row, (row,); None where the log has labels.
    ``cuts``    K of HR@K and NDCG@K.
    """

    labels: Tensor
    users: Tensor
    held: Tensor | None
    groups: Tensor | None
    cuts: Sequence[int]

    @classmethod
    def of(cls, store: DeviceStore, split: str, cuts: Sequence[int]) -> Measured:
        """The rows of a split."""
        held, groups = store.item_in_history(split), store.candidate_groups(split)
        return cls(store.labels(split), store.users(split), held, groups, cuts)

    def figures(self, logits: Tensor) -> EpochMetrics:
        """Every metric of ``logits`` (row,), by the name of its column in validation; NaN where it does not exist."""
        labels, users = self.labels, self.users
        found: EpochMetrics = {
            "val_loss": metrics.log_loss(logits, labels),
            "val_auc": metrics.auc(logits, labels),
            "val_gauc": metrics.grouped_auc(logits, labels, users),
            "val_ece": metrics.calibration_error(logits, labels),
        }
        found |= auc_of_kinds(logits, labels, self.held)
        return found | (ranking_metrics(logits, labels, self.groups, self.cuts) if self.groups is not None else {})


def cuts_of(ranking_at: Sequence[int], monitor: str) -> list[int]:
    """K of each HR@K and NDCG@K that is recorded: ``training.ranking_at``, and that of the monitor if it has one."""
    return sorted({*ranking_at, *([k] if (k := cut_of(monitor)) else [])})


def auc_of_kinds(logits: Tensor, labels: Tensor, held: Tensor | None) -> EpochMetrics:
    """The AUC on the rows whose item is in the user's history, ``held`` (row,), and on those whose item is not."""
    if held is None:
        return dict.fromkeys(KINDS)
    return {name: metrics.auc(logits[kind], labels[kind]) for name, kind in zip(KINDS, (held, ~held), strict=True)}


def train_sample(rows: Tensor, size: int, seed: int) -> Tensor:
    """The training rows on which ``train_auc`` is measured, (sample,): at most ``size``, the same in every epoch."""
    return rows[_sampled(len(rows), size, seed).to(rows.device)]


@functools.lru_cache(maxsize=64)
def _sampled(rows: int, size: int, seed: int) -> Tensor:
    """At most ``size`` of the numbers below ``rows``, on the CPU. Cached, since each epoch needs the same ones."""
    generator = torch.Generator().manual_seed(stream_seed(seed, "train_sample"))
    return torch.randperm(rows, generator=generator)[:size].clone()


@torch.no_grad()
def predict(
    replicas: Trained,
    store: DeviceStore,
    split: str,
    rows: Tensor,
    batch_size: int,
    precision: str = "fp32",
    beat: Callable[[], None] | None = None,
) -> Prediction:
    """Scores rows (replica, row) of a split in evaluation mode.

    Rows are sorted by history length first, so that forward passes contain little padding; the result is in the order
    of ``rows``. A forward pass has at most ``batch_size`` rows of the longest histories, see ``forward_pass_sizes``; on
    a GPU see also ``rows_of_a_pass``.
    Several threads of a CPU may compute passes at once, each with its share of torch's threads. Where that is one, the
    scores are those of one thread, bit for bit. ``beat`` is called in the calling thread after each of its own passes;
    what it raises ends the evaluation.
    """
    model, device = replicas.model, replicas.device
    model.eval()
    set_dropout(model, None, None)
    lengths, order = store.lengths(split)[rows].sort(dim=1, stable=True)
    weight = position_weight(model, len(rows))
    if device.type == "cuda" and lengths.numel():
        memory = torch.cuda.get_device_properties(device).total_memory // gpus.shared_by()
        batch_size = rows_of_a_pass(batch_size, weight, len(rows), int(lengths.max()), memory)
    sizes = forward_pass_sizes(lengths, batch_size, default_positions(device), weight)
    parts, longest, weights = order.split(sizes, dim=1), lengths.amax(dim=0).tolist(), weights_of_layers(model)
    ends = [longest[end - 1] for end in accumulate(sizes)]
    works = [part.numel() * (1 + end) * weights for part, end in zip(parts, ends, strict=True)]
    outputs: list[tuple[Tensor, Tensor | None]] = [(torch.empty(0), None)] * len(parts)

    def score(worker: int, n: int) -> None:
        with threads_for(works[n], device), computing_in(precision, device):
            output = model(store.gather(split, rows.gather(1, parts[n]), ends[n]))
        outputs[n] = output.logits, output.gate
        if worker == 0 and beat is not None:
            beat()

    workers = workers_for(sum(works), device) if can_share(model) else 1
    at_once(score, len(parts), max(1, min(workers, len(parts))))
    return Prediction(*_unsorted(outputs, order))


def _unsorted(outputs: Sequence[tuple[Tensor, Tensor | None]], order: Tensor) -> tuple[Tensor, Tensor | None]:
    """Logits and gates of passes (replica, row each), put where ``order`` (replica, row) took the rows from."""
    logits = torch.empty(order.shape, device=order.device)
    if not outputs:
        return logits, None
    logits.scatter_(1, order, torch.cat([scores for scores, _ in outputs], dim=1).to(logits.dtype))
    gates = [gate for _, gate in outputs if gate is not None]
    return logits, torch.empty_like(logits).scatter_(1, order, torch.cat(gates, dim=1)) if gates else None


def gate_statistics(gate: Tensor | None) -> EpochMetrics:
    """Mean, standard deviation, median and range of the fusion gate (row,); None for a model without a gate."""
    names = ("gate_mean", "gate_std", "gate_median", "gate_min", "gate_max")
    if gate is None:
        return dict.fromkeys(names)
    metrics.check_finite(gate, "gates")
    values = (gate.mean(), gate.std(correction=0), gate.median(), gate.min(), gate.max())
    return {name: float(value) for name, value in zip(names, values, strict=True)}
