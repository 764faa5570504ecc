"""Delta tables and rankings, as the research's reports held them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mdaf.sweeper.study.comparison import ComparedRun, compare


@dataclass(frozen=True)
class DeltaRow:
    """A metric of two configurations, ``delta = b - a``, and that in per cent of ``a``; None where it is unknown."""

    metric: str
    a: float | None
    b: float | None
    delta: float | None
    delta_percent: float | None


@dataclass(frozen=True)
class Rank:
    """A configuration's rank by validation AUC, and its share of the best one's."""

    rank: int
    name: str
    val_auc: float
    percent_of_best: float


def delta_table(baseline: Mapping[str, float | None], other: Mapping[str, float | None]) -> list[DeltaRow]:
    """A row for each metric that either of them has."""
    first, second = (
        ComparedRun(name, 1, {1: {metric: value for metric, value in metrics.items() if value is not None}})
        for name, metrics in (("baseline", baseline), ("other", other))
    )
    return [DeltaRow(**row) for row in compare(first, second) if row["metric"] not in ("epoch", "best_epoch")]


def ranking(aucs: Mapping[str, float]) -> list[Rank]:
    """Configurations by validation AUC, the best first."""
    best = max(aucs.values())
    ordered = sorted(aucs.items(), key=lambda pair: -pair[1])
    return [Rank(rank, name, auc, 100 * auc / best) for rank, (name, auc) in enumerate(ordered, start=1)]
