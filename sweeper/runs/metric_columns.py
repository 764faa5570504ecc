"""The columns of metrics.csv, and which of them each table, curve and record shows: the only list of metrics."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

EpochMetrics = dict[str, Any]  # a row of metrics.csv, by column; None where a metric does not exist, never NaN
Metrics = TypeVar("Metrics", bound=Mapping[str, Any])


@dataclass(frozen=True)
class MetricColumn:
    """A column of metrics.csv.

    ``heading``           its name for people.
    ``format``            how its values are written for people.
    ``higher_is_better``  None where neither is.
    """

    name: str
    heading: str
    format: str = ".4f"
    higher_is_better: bool | None = None


TABLE = (
    MetricColumn("epoch", "epoch", "d"),
    MetricColumn("train_loss", "train loss", higher_is_better=False),
    MetricColumn("train_auc", "train AUC", higher_is_better=True),
    MetricColumn("val_loss", "val loss", higher_is_better=False),
    MetricColumn("val_auc", "val AUC", higher_is_better=True),
    MetricColumn("val_gauc", "val gAUC", higher_is_better=True),
    MetricColumn("val_ece", "val ECE", higher_is_better=False),
    MetricColumn("train_val_gap", "gap", "+.4f", higher_is_better=False),
    MetricColumn("gate_mean", "gate"),
    MetricColumn("gate_std", "gate sd"),
    MetricColumn("gate_median", "gate median"),
    MetricColumn("gate_min", "gate min"),
    MetricColumn("gate_max", "gate max"),
    MetricColumn("epoch_seconds", "seconds", ".1f", higher_is_better=False),
    MetricColumn("batch_ms_p50", "batch ms p50", ".1f", higher_is_better=False),
    MetricColumn("batch_ms_p99", "batch ms p99", ".1f", higher_is_better=False),
    MetricColumn("learning_rate", "learning rate", ".2e"),
    MetricColumn("running_train_auc", "running train AUC", higher_is_better=True),
    # On the rows whose item is in the user's history, and on those whose item is new to the user.
    MetricColumn("val_auc_in_history", "val AUC, in history", higher_is_better=True),
    MetricColumn("val_auc_new_items", "val AUC, new items", higher_is_better=True),
)
BY_NAME = {column.name: column for column in TABLE}

COLUMNS = tuple(BY_NAME)  # of metrics.csv, in their order
OBJECTIVES = COLUMNS[1:]  # what an objective or a constraint may be, beside RANKING
WHOLE_NUMBERS = ("epoch",)

# Of next-click tasks alone: the rank of each positive among its candidates, cut at K. The last columns of metrics.csv.
RANKING = ("hr@K", "ndcg@K", "mrr")
_RANKING = re.compile(r"(?:(hr|ndcg)@([1-9][0-9]{0,5})|mrr)")

MONITOR = "val_auc"  # decides a run's best epoch unless training.monitor names another one of MONITORS or RANKING
MONITORS = ("val_auc", "val_gauc", "val_loss", "val_ece", "val_auc_in_history", "val_auc_new_items")

# Selections, each in the order in which people and files have it.
TRAJECTORY = (*COLUMNS[: COLUMNS.index("gate_mean") + 1], "epoch_seconds")  # of summary.txt
KINDS = ("val_auc_in_history", "val_auc_new_items")  # of validation rows
RECORDED = (  # at the best epoch, as a trial's attributes
    *("train_auc", "train_val_gap", "val_loss", "val_ece", "gate_mean", "epoch_seconds", *KINDS),
)
OVER_SEEDS = ("val_auc", "val_gauc", "val_loss", "val_ece", "train_auc", "train_loss", "train_val_gap", "gate_mean")
CURVES = ("val_auc", "train_auc", "gate_mean", "gate_std", "gate_min", "gate_max", "train_val_gap", "epoch_seconds")
COMPARED = (
    *("val_auc", "val_gauc", *KINDS, "train_auc", "train_val_gap", "train_loss", "val_loss", "val_ece"),
    *("gate_mean", "gate_std", "gate_median", "gate_min", "gate_max", "epoch_seconds", "learning_rate"),
)
ON_TEST = ("test_auc", "test_loss", "test_ece")  # no columns: a report measures them
IN_A_REPORT = (
    *("val_auc", "val_gauc", "test_auc", "val_loss", "test_loss", "val_ece", "test_ece"),
    *("train_auc", "train_val_gap", "gate_mean"),
)
OF_A_MULTIRUN = tuple(name for name in IN_A_REPORT if name in BY_NAME)
NEEDED = ("val_auc", "epoch_seconds")  # in every epoch of a finished run


@functools.cache
def column(name: str) -> MetricColumn:
    """The column of a name, which may be one of ``RANKING`` with a number for K. KeyError if there is none."""
    if name in BY_NAME:
        return BY_NAME[name]
    if (found := _RANKING.fullmatch(name)) is None:
        raise KeyError(name)
    heading = f"{found[1].upper()}@{found[2]}" if found[1] else "MRR"
    return MetricColumn(name, heading, higher_is_better=True)


def is_ranking(name: str) -> bool:
    """Whether a name is one of ``RANKING``, with a number for K."""
    return _RANKING.fullmatch(name) is not None


def cut_of(name: str) -> int | None:
    """K of ``hr@K`` and ``ndcg@K``; None for every other name."""
    found = _RANKING.fullmatch(name)
    return int(found[2]) if found and found[2] else None


def ranking_names(cuts: Iterable[int]) -> list[str]:
    """The names of the ranking metrics at these cuts, in the order of their columns."""
    return [*(f"{kind}@{k}" for k in sorted(set(cuts)) for kind in ("hr", "ndcg")), "mrr"]


def ranking_in(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The ranking metrics that any of these rows has, in the order of their columns."""
    found = {name for row in rows for name in row if is_ranking(name)}
    return [name for name in ranking_names(filter(None, map(cut_of, found))) if name in found]


def is_objective(name: str) -> bool:
    """Whether an objective or a constraint may be this metric."""
    return name in OBJECTIVES or is_ranking(name)


def is_monitor(name: str) -> bool:
    """Whether this metric may decide the best epoch: one that is measured on validation rows."""
    return name in MONITORS or is_ranking(name)


def shown(name: str, value: float | None) -> str:
    """A metric's value for people; a dash where it does not exist."""
    return "-" if value is None else format(value, column(name).format)


def is_better(monitor: str, value: float, other: float) -> bool:
    """Whether a value of the monitored metric is better than another one; equals are not."""
    return value > other if column(monitor).higher_is_better else value < other


def best_epoch(history: Iterable[Metrics], monitor: str = MONITOR) -> Metrics:
    """The epoch with the best value of ``monitor``, the first one of equals. An epoch without one is never better."""
    sign = 1.0 if column(monitor).higher_is_better else -1.0

    def value_of(metrics: Metrics) -> float:
        value = metrics.get(monitor)
        return -math.inf if value is None or math.isnan(value) else sign * float(value)

    return max(history, key=value_of)


def monitor_in(recorded: Mapping[str, Any]) -> str:
    """The monitor that a result or a trial's attributes name: these name it where it is not ``MONITOR``."""
    named = recorded.get("monitor", MONITOR)
    return named if isinstance(named, str) and is_monitor(named) else MONITOR
