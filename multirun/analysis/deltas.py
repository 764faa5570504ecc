"""Delta tables and rankings, as the research's reports held them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mdaf.sweeper.study.comparison import ComparedRun, compare


def delta_table(baseline: Mapping[str, float | None], other: Mapping[str, float | None]) -> list[dict[str, Any]]:
    """Rows of metric, a, b, delta = b - a and delta_percent of |a|, for the metrics that either has."""
    first, second = (
        ComparedRun(name, 1, {1: {metric: value for metric, value in metrics.items() if value is not None}})
        for name, metrics in (("baseline", baseline), ("other", other))
    )
    return [row for row in compare(first, second) if row["metric"] not in ("epoch", "best_epoch")]


def ranking(aucs: Mapping[str, float]) -> list[dict[str, Any]]:
    """Configurations by validation AUC, each with its share of the best in per cent."""
    best = max(aucs.values())
    ordered: Sequence[tuple[str, float]] = sorted(aucs.items(), key=lambda pair: -pair[1])
    return [
        {"rank": place, "name": name, "val_auc": auc, "percent_of_best": 100 * auc / best}
        for place, (name, auc) in enumerate(ordered, start=1)
    ]
