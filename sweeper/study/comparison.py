"""Two runs beside each other: per metric the two values, delta and delta in per cent, as in the research's reports."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from mdaf.errors import UserError
from mdaf.sweeper.runs.metric_columns import COMPARED, EpochMetrics, best_epoch, is_objective, monitor_in, ranking_in
from mdaf.sweeper.runs.reader import read_run
from mdaf.sweeper.study.queries import QueryError, Row
from mdaf.sweeper.trials.admitted import run_folder

VALUE = "value"  # what a job of another program reported


@dataclass
class ComparedRun:
    """One run's metrics by epoch (from 1), its best epoch, and the parameters of its trial if it has one.

    ``data_hash``  of the data that it was evaluated on, empty where nobody knows.
    """

    name: str
    best_epoch: int
    epochs: dict[int, dict[str, float]]
    params: dict[str, Any] = field(default_factory=dict)
    data_hash: str = ""


def run_from_folder(folder: Path) -> ComparedRun:
    """Reads a run folder's ``metrics.csv`` and, for the best epoch, its ``result.json``.

    A run that has not ended has no ``result.json`` yet: its best epoch is then the one that its config's monitor names.
    """
    if not (folder / "metrics.csv").is_file():
        raise QueryError(f"{folder} is not a run's folder: it holds no metrics.csv")
    try:
        run = read_run(folder, needs=())
        epochs = {metrics["epoch"]: _numbers(metrics) for metrics in run.history}
    except UserError as error:
        raise QueryError(str(error)) from None
    if not epochs:
        raise QueryError(f"{folder / 'metrics.csv'} holds no epoch yet")
    recorded = run.result.get("best_epoch", 0)
    best = recorded if recorded in epochs else run.best["epoch"]
    return ComparedRun(str(folder), best, epochs, data_hash=run.result.get("data_hash", ""))


def run_from_trial(trial: FrozenTrial, reported: str | None = None) -> ComparedRun:
    """A trial's run: its folder if that lies below this directory, else what the storage holds.

    The storage holds the metric that was ``reported`` after each epoch, by default that which decides the best epoch,
    and the other metrics of the best one. Of another program's trial it holds the value that the job reported after
    each epoch; the last one is compared.
    """
    attributes = trial.user_attrs
    name = f"trial {trial.number}"
    folder = run_folder(attributes.get("run_dir"))
    if folder is not None and (folder / "metrics.csv").is_file():
        run = run_from_folder(folder)
        return replace(run, name=name, params=dict(trial.params))
    ours = "config_hash" in attributes or "best_epoch" in attributes
    named = reported if reported is not None and is_objective(reported) else monitor_in(attributes)
    metric = named if ours else VALUE
    epochs = {epoch: {metric: value} for epoch, value in trial.intermediate_values.items()}
    if not epochs:
        raise QueryError(f"{name} ({trial.state.name}) has no epoch to compare: neither a run folder here nor values")
    best = attributes.get("best_epoch") if ours else max(epochs)
    if best not in epochs:
        best = int(best_epoch(({"epoch": epoch, **epochs[epoch]} for epoch in sorted(epochs)), metric)["epoch"])
    elif ours:
        recorded = {name: attributes.get(name) for name in (*COMPARED, *ranking_in([attributes]))}
        epochs[best] |= {name: float(value) for name, value in recorded.items() if isinstance(value, int | float)}
    return ComparedRun(name, best, epochs, dict(trial.params), str(attributes.get("data_hash") or ""))


def compare(baseline: ComparedRun, other: ComparedRun, epoch: int | None = None) -> list[Row]:
    """Rows of metric, a, b, delta = b - a, delta_percent of a; at each run's best epoch, or both at ``epoch``.

    QueryError where one has no such epoch, or they were evaluated on different data.
    """
    if baseline.data_hash and other.data_hash and baseline.data_hash != other.data_hash:
        raise QueryError(
            f"{baseline.name} and {other.name} were evaluated on different data ({baseline.data_hash[:12]} and "
            f"{other.data_hash[:12]}), so their metrics cannot be compared; compare runs of one log"
        )
    at = (epoch or baseline.best_epoch, epoch or other.best_epoch)
    for run, wanted in zip((baseline, other), at, strict=True):
        if wanted not in run.epochs:
            raise QueryError(f"{run.name} has no epoch {wanted}; it has: {', '.join(map(str, sorted(run.epochs)))}")
    first, second = baseline.epochs[at[0]], other.epochs[at[1]]
    there = {*first, *second}
    rows = [_row("epoch", *at)]
    if VALUE not in there:  # which epoch was another program's best one is not known
        rows.append(_row("best_epoch", baseline.best_epoch, other.best_epoch))
    rows += [
        _row(name, first.get(name), second.get(name))
        for name in (VALUE, *COMPARED, *ranking_in([dict.fromkeys(there)]))
        if name in there
    ]
    names = sorted({*baseline.params, *other.params})
    return rows + [_row(f"params.{name}", baseline.params.get(name), other.params.get(name)) for name in names]


def _row(metric: str, first: Any, second: Any) -> Row:
    row: Row = {"metric": metric, "a": first, "b": second, "delta": None, "delta_percent": None}
    if isinstance(first, int | float) and isinstance(second, int | float):
        row["delta"] = second - first
        # Of the signed value, as in the research's tables: a gap that goes from -0.04 to -0.05 has grown by 25 %.
        row["delta_percent"] = 100 * (second - first) / first if first else None
    return row


def _numbers(metrics: EpochMetrics) -> dict[str, float]:
    names = (*COMPARED, *ranking_in([metrics]))
    return {name: metrics[name] for name in names if metrics.get(name) is not None}
