"""The columns of metrics.csv, and which of them each table, curve and record shows: the only list of metrics."""

from __future__ import annotations

import math
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
OBJECTIVES = COLUMNS[1:]  # what an objective or a constraint may be
WHOLE_NUMBERS = ("epoch",)

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


def shown(name: str, value: float | None) -> str:
    """A metric's value for people; a dash where it does not exist."""
    return "-" if value is None else format(value, BY_NAME[name].format)


def best_epoch(history: Iterable[Metrics]) -> Metrics:
    """The epoch with the highest validation AUC, the first one of equals. An epoch without one is never better."""

    def val_auc(metrics: Metrics) -> float:
        value = metrics.get("val_auc")
        return -math.inf if value is None or math.isnan(value) else float(value)

    return max(history, key=val_auc)
