"""Writes the text of a run's summary.txt: its configuration, its metrics, and whether it meets the success criteria."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mdaf.conf.schema import Criteria
from mdaf.data.inspecting.trivial_rules import TrivialRules, not_learning_yet
from mdaf.sweeper.job.criteria import decide, judge
from mdaf.sweeper.runs.metric_columns import MONITOR, TRAJECTORY, best_epoch, ranking_in, shown
from mdaf.sweeper.runs.metric_columns import column as column_of


def summarize(
    identity: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
    planned: int,
    criteria: Criteria | None,
    monitor: str = MONITOR,
    rules: TrivialRules | None = None,
) -> str:
    """The text of summary.txt.

    ``history``: the metrics of each epoch. ``planned``: the number of epochs of the whole run. ``monitor``: the
    metric that decides the best epoch. ``criteria``: None where the run is not judged by any. ``rules``: what
    trivial rules reach on its validation rows, None where that is not known.
    """
    lines = ["Configuration"]
    lines += [f"  {name:<16} {value}" for name, value in identity.items() if not isinstance(value, dict | list)]
    lines += ["", f"Trajectory ({len(history)} of {planned} epochs)"]
    columns = [column_of(name) for name in (*TRAJECTORY, *ranking_in(history))]
    widths = [max(len(column.heading), len(format(0, column.format))) for column in columns]
    lines.append("".join(f"  {column.heading:>{width}}" for column, width in zip(columns, widths, strict=True)))
    for row in history:
        cells = (shown(column.name, row.get(column.name)) for column in columns)
        lines.append("".join(f"  {cell:>{width}}" for cell, width in zip(cells, widths, strict=True)))
    lines += [] if rules is None else _beside_rules(rules, best_epoch(history, monitor)["val_auc"])
    if criteria is not None:
        judged = judge(history, planned, criteria, None, monitor)
        lines += ["", "Criteria (the targets under `criteria` in the config)"]
        lines += [f"  {j.verdict:<8} {j.criterion}: {j.figures}" for j in judged]
        lines += ["", "What follows, by these criteria", f"  {decide(judged)}"]
    return "\n".join([*lines, ""])


def _beside_rules(rules: TrivialRules, val_auc: float) -> list[str]:
    """What trivial rules reach, and what that says of the run."""
    said = None if rules.best is None else not_learning_yet(val_auc, *rules.best)
    lines = ["", f"Validation AUC of trivial rules, on {rules.rows:,} rows"]
    lines += [f"  {line}" for line in rules.lines()]
    return lines if said is None else [*lines, f"  This run: {said}"]
