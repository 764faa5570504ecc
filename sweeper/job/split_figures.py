"""The figures of a finished run on any split of its data, with intervals over resampled users."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from mdaf.data.preparing.source import source_from
from mdaf.data.store.device_store import DeviceStore
from mdaf.errors import UserError
from mdaf.streams import stream_seed
from mdaf.sweeper.job.trained_run import TrainedRun
from mdaf.sweeper.job.trained_store import store_of
from mdaf.sweeper.runs.metric_columns import KINDS, MONITOR
from mdaf.sweeper.training.evaluating.evaluation import Measured, cuts_of, predict
from mdaf.sweeper.training.evaluating.metrics import NotFiniteError, user_aucs
from mdaf.sweeper.training.evaluating.ranking import of_each_group, ranks
from mdaf.sweeper.training.evaluating.resampling import in_parts, interval, resampled_aucs

LEVEL = 0.95
RANKING_AT = (1, 3)  # of runs of versions that had no training.ranking_at


@dataclass(frozen=True)
class Figure:
    """A metric's value and its 95 % interval over resampled users; None where it does not exist."""

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class SplitFigures:
    """The figures of a run on a split, by the name of the metric in ``metrics.csv`` without ``val_``."""

    run: str
    split: str
    best_epoch: int
    rows: int
    positives: int
    users: int
    resamples: int
    device: str
    data_hash: str
    figures: dict[str, Figure]


def split_figures(
    folder: Path, split: str, resamples: int, cuts: tuple[int, ...] | None = None, root: str | None = None
) -> SplitFigures:
    """Scores a split with a run's best checkpoint and measures the scores as validation is measured in training.

    ``cuts``  K of HR@K and NDCG@K; None: those of the run. ``root``: the folder of stores; None: that of the run.

    Nothing is written into the run's folder.

    UserError if the run has not ended or is damaged, if the store that it was trained on is not there, or if its
    scores are not finite.
    """
    run = TrainedRun.read(folder)
    device = run.set_up_device()
    store = store_of(run, source_from(run.config.data), None if root is None else Path(root), option="data.root=FOLDER")
    gathered = DeviceStore(store, device, run.config.device.memory_fraction, run.config.data.history_order)
    replicas = run.model(store, device)
    size, rows = run.config.training.eval_batch_size, gathered.rows(split)[None]
    logits = predict(replicas, gathered, split, rows, size, run.precision(device)).logits[0]
    training = run.config.training
    chosen = cuts or cuts_of(training.get("ranking_at") or RANKING_AT, training.get("monitor") or MONITOR)
    measured = Measured.of(gathered, split, chosen)
    try:
        values = measured.figures(logits)
    except NotFiniteError as error:
        raise UserError(f"{folder}: {error}: the run diverged") from None
    bounds = _intervals(logits, measured, resamples)
    figures = {name.removeprefix("val_"): _figure(value, bounds.get(name, ())) for name, value in values.items()}
    return SplitFigures(
        run=str(folder),
        split=split,
        best_epoch=len(run.saved.history),
        rows=len(logits),
        positives=int((measured.labels > 0.5).sum()),
        users=len(measured.users.unique()),
        resamples=resamples,
        device=str(device),
        data_hash=store.data_hash,
        figures=figures,
    )


def _figure(value: float | None, bounds: tuple[()] | tuple[float, float]) -> Figure:
    return Figure(None if value is None or np.isnan(value) else value, *bounds)


def _intervals(logits: Tensor, measured: Measured, resamples: int) -> dict[str, tuple[float, float]]:
    """The interval of each metric, by its column in validation. ECE has none: that of a resample is biased upwards."""
    users = measured.users.cpu().numpy()
    _, user = np.unique(users, return_inverse=True)
    of = [*_sums(logits, measured, user), *_aucs(logits, measured, user)]
    found: dict[str, list[np.ndarray]] = {name: [] for name, _ in of}
    for weights in in_parts(users, resamples, np.random.default_rng(stream_seed(0, "evaluate", "users"))):
        for name, value_of in of:
            found[name].append(value_of(weights))
    intervals = {name: interval(np.concatenate(parts), LEVEL) for name, parts in found.items() if parts}
    return {name: bounds for name, bounds in intervals.items() if bounds is not None}


Resampled = tuple[str, Callable[[np.ndarray], np.ndarray]]  # a metric, and its value for each row of ``user_weights``


def _sums(logits: Tensor, measured: Measured, user: np.ndarray) -> list[Resampled]:
    """The metrics that are means: each user adds to a sum and to a count."""
    labels = measured.labels
    losses = F.binary_cross_entropy_with_logits(logits.double(), labels.double(), reduction="none").cpu().numpy()
    value, samples, both = (part.cpu().numpy() for part in user_aucs(logits, labels, measured.users))
    count = np.where(both, samples, 0)
    found = [_mean("val_loss", user, losses), _ratio("val_gauc", np.where(both, value, 0.0) * count, count)]
    if measured.groups is not None:
        standing = ranks(logits, labels, measured.groups)
        for name, each in of_each_group(standing, measured.cuts).items():
            found.append(_mean(name, user[standing.row.numpy()], each.numpy(), users=int(user.max(initial=-1)) + 1))
    return found


def _mean(name: str, user: np.ndarray, values: np.ndarray, users: int | None = None) -> Resampled:
    least = users or 0
    return _ratio(name, np.bincount(user, values, minlength=least), np.bincount(user, minlength=least))


def _ratio(name: str, total: np.ndarray, count: np.ndarray) -> Resampled:
    def value_of(weights: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray((weights @ total) / (weights @ count))

    return name, value_of


def _aucs(logits: Tensor, measured: Measured, user: np.ndarray) -> list[Resampled]:
    """The AUC on all rows, and on those whose item is or is not in the history."""
    scores, labels = logits.float().cpu().numpy(), measured.labels.cpu().numpy()
    kinds: Mapping[str, np.ndarray] = {"val_auc": np.ones(len(scores), dtype=bool)}
    if measured.held is not None:
        held = measured.held.cpu().numpy()
        kinds = {**kinds, **dict(zip(KINDS, (held, ~held), strict=True))}

    def resampled(kind: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        present = np.unique(user[kind])
        return lambda weights: resampled_aucs(scores[kind], labels[kind], user[kind], weights[:, present])

    return [(name, resampled(kind)) for name, kind in kinds.items() if kind.any()]
