"""Whether epochs kept their pace: what stopped the earlier experiment was a second epoch of 12 hours."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from mdaf.conf.schema import Pace


def slow_epochs(history: Sequence[Mapping[str, Any]], pace: Pace) -> list[int]:
    """The epochs that took out of proportion long, beside the others of their run; the first may warm up."""
    usual = statistics.median(row["epoch_seconds"] for row in history)
    first = history[0]["epoch_seconds"]
    usual = min(usual, first) if len(history) == 2 else usual  # of two, the second is measured by the first
    return [
        row["epoch"]
        for row in history[1:]
        if row["epoch_seconds"] > pace.ratio * usual and row["epoch_seconds"] - usual > pace.seconds
    ]
