"""Two runs beside each other: per metric the two values, delta and delta in per cent, as in the research's reports."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from sweeper.admitted import run_folder
from sweeper.queries import QueryError, Row

METRICS = (
    "val_auc",
    "val_gauc",
    "train_auc",
    "train_val_gap",
    "train_loss",
    "val_loss",
    "gate_mean",
    "gate_std",
    "gate_median",
    "gate_min",
    "gate_max",
    "epoch_seconds",
    "learning_rate",
)


@dataclass
class Run:
    """One run's metrics by epoch (from 1), its best epoch, and the parameters of its trial if it has one."""

    name: str
    best_epoch: int
    epochs: dict[int, dict[str, float]]
    params: dict[str, Any] = field(default_factory=dict)


def run_from_folder(folder: Path) -> Run:
    """Reads a run folder's ``metrics.csv`` and, for the best epoch, its ``result.json``.

    A run that has not ended has no ``result.json`` yet: its best epoch is then the one of the highest validation AUC.
    """
    file = folder / "metrics.csv"
    if not file.is_file():
        raise QueryError(f"{folder} is not a run's folder: it holds no metrics.csv")
    try:
        with file.open(newline="", encoding="utf-8") as lines:
            table = list(csv.DictReader(lines))
        epochs = {int(row["epoch"]): _numbers(row) for row in table}
    except (ValueError, KeyError, TypeError) as error:
        raise QueryError(f"{file} is damaged: expected numbers and a column 'epoch' ({error!r})") from None
    if not epochs:
        raise QueryError(f"{file} holds no epoch yet")
    return Run(str(folder), _best_epoch(folder / "result.json", epochs), epochs)


def run_from_trial(trial: FrozenTrial) -> Run:
    """A trial's run: its folder if that is here, else what the storage holds (val AUC by epoch, attributes)."""
    attributes = trial.user_attrs
    name = f"trial {trial.number}"
    folder = run_folder(said := attributes.get("run_dir"))
    if folder is None and said:
        raise QueryError(
            f"{name}: its run_dir={said} lies outside of this directory, where no study may point; name the folder "
            "itself instead of the trial's number"
        )
    if folder is not None and (folder / "metrics.csv").is_file():
        run = run_from_folder(folder)
        return Run(name, run.best_epoch, run.epochs, dict(trial.params))
    epochs = {epoch: {"val_auc": value} for epoch, value in trial.intermediate_values.items()}
    if not epochs:
        raise QueryError(f"{name} ({trial.state.name}) has no epoch to compare: neither a run folder here nor values")
    best = attributes.get("best_epoch")
    if best not in epochs:
        best = _highest(epochs)
    else:
        recorded = {metric: attributes.get(metric) for metric in METRICS}
        epochs[best] |= {metric: float(value) for metric, value in recorded.items() if value is not None}
    return Run(name, best, epochs, dict(trial.params))


def compare(baseline: Run, other: Run, epoch: int | None = None) -> list[Row]:
    """Rows of metric, a, b, delta = b - a, delta_percent of |a|; at each run's best epoch, or both at ``epoch``."""
    at = (epoch or baseline.best_epoch, epoch or other.best_epoch)
    for run, wanted in zip((baseline, other), at, strict=True):
        if wanted not in run.epochs:
            raise QueryError(f"{run.name} has no epoch {wanted}; it has: {', '.join(map(str, sorted(run.epochs)))}")
    first, second = baseline.epochs[at[0]], other.epochs[at[1]]
    rows = [_row("epoch", *at), _row("best_epoch", baseline.best_epoch, other.best_epoch)]
    rows += [_row(metric, first.get(metric), second.get(metric)) for metric in METRICS if {metric} & {*first, *second}]
    names = sorted({*baseline.params, *other.params})
    return rows + [_row(f"params.{name}", baseline.params.get(name), other.params.get(name)) for name in names]


def _row(metric: str, first: Any, second: Any) -> Row:
    row: Row = {"metric": metric, "a": first, "b": second, "delta": None, "delta_percent": None}
    if isinstance(first, int | float) and isinstance(second, int | float):
        row["delta"] = second - first
        row["delta_percent"] = 100 * (second - first) / abs(first) if first else None
    return row


def _numbers(row: dict[str, str]) -> dict[str, float]:
    return {metric: float(row[metric]) for metric in METRICS if row.get(metric)}


def _best_epoch(result: Path, epochs: dict[int, dict[str, float]]) -> int:
    if result.is_file():
        try:
            best = json.loads(result.read_text(encoding="utf-8")).get("best_epoch")
        except (ValueError, AttributeError):
            raise QueryError(f"{result} is damaged: expected a JSON object") from None
        if best in epochs:
            return int(best)
    return _highest(epochs)


def _highest(epochs: dict[int, dict[str, float]]) -> int:
    def val_auc(epoch: int) -> float:
        value = epochs[epoch].get("val_auc", math.nan)
        return -math.inf if math.isnan(value) else value

    return max(sorted(epochs), key=val_auc)
