"""Judges whether a machine was steady during a run, for infrastructure checks and the run's summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

MOST_TIMES = 1.5  # the most that a step of a later epoch may take, as a multiple of the first epoch's
MOST_GROWTH = 0.05  # the most that resident memory may grow after the second epoch


def judge_steadiness(
    history: Sequence[Mapping[str, Any]], slow_downs: Sequence[Mapping[str, Any]], resident_mb: Sequence[float]
) -> str:
    """``STABLE``, ``UNSTABLE`` or ``PENDING``, with the figures.

    The median step time of each later epoch is compared with that of the first epoch. Memory is compared with that at
    the end of the second epoch, because the first epoch compiles kernels and fills caches.
    """
    times = [row["batch_ms_p50"] for row in history if row.get("batch_ms_p50")]
    if len(times) < 2:
        return f"PENDING: {len(times)} of at least 2 epochs with step times"
    slowest = max(times[1:]) / times[0]
    figures = [f"later steps took at most {slowest:.2f} times as long as the first epoch's ({times[0]:.1f} ms)"]
    stable = slowest <= MOST_TIMES and not slow_downs
    if len(resident_mb) >= 3:
        growth = resident_mb[-1] / resident_mb[1] - 1
        figures.append(f"memory grew by {growth:+.1%} since the second epoch ({resident_mb[-1]:,.0f} MB)")
        stable = stable and growth <= MOST_GROWTH
    figures.append(f"{len(slow_downs)} slow-downs")
    return f"{'STABLE' if stable else 'UNSTABLE'}: {'; '.join(figures)}"
