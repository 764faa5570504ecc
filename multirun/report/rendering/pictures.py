"""The pictures of a verdict: differences against zero and the margin, and configurations over their seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

from mdaf.multirun.analysis.wording import interval
from mdaf.pages.palette import OTHER
from mdaf.pages.strips import Strip, strips


class Compared(Protocol):
    """A comparison of two configurations, paired by seed."""

    @property
    def a(self) -> str: ...

    @property
    def b(self) -> str: ...

    @property
    def by_seed(self) -> Mapping[str, float]: ...

    @property
    def mean(self) -> float: ...

    @property
    def interval(self) -> tuple[float, float] | None: ...

    @property
    def verdict(self) -> str: ...


def differences(
    rows: Sequence[Compared],
    axis: str,
    colours: Mapping[str, str],
    *,
    margin: float | None = None,
    greater_is_better: bool = True,
) -> str | None:
    """Paired differences as SVG: a dot a seed, the mean and its interval; None where nothing is compared.

    A row has the colour of the configuration that is ahead, if the verdict says that one is.
    """
    if not rows:
        return None
    left, right = ("the second", "the first") if len(rows) > 1 else (rows[0].b, rows[0].a)
    if not greater_is_better:
        left, right = right, left
    places = _places([row.interval for row in rows])
    drawn = [
        Strip(
            name=f"{row.a} − {row.b}",
            values=list(row.by_seed.values()),
            mean=row.mean,
            interval=row.interval,
            colour=colours.get({"better": row.a, "worse": row.b}.get(row.verdict, ""), OTHER),
            figures=_mean_and_interval(row.mean, row.interval, places, "+"),
            said=f"{row.verdict}, ",
        )
        for row in rows
    ]
    sides = (f"← {left} is ahead", f"{right} is ahead →")
    return strips(drawn, axis, zero=True, margin=margin, sides=sides, signed=True)


def _places(intervals: Sequence[tuple[float, float] | None]) -> int | None:
    """Digits behind the point for all numbers of a picture: they leave the widest interval three that count."""
    widest = max((ends[1] - ends[0] for ends in intervals if ends is not None), default=0.0)
    return min(12, max(0, 2 - math.floor(math.log10(widest / 2)))) if widest > 0 else None


def _mean_and_interval(mean: float, ends: tuple[float, float] | None, places: int | None, sign: str = "") -> str:
    form = f"{sign}.4g" if places is None else f"{sign}.{places}f"
    return f"{mean:{form}}" if ends is None else f"{mean:{form}} {interval(ends, form)}"


def spreads(
    rows: Mapping[str, tuple[Sequence[float], float, tuple[float, float] | None]], axis: str, colours: Mapping[str, str]
) -> str | None:
    """Configurations as SVG: a dot a seed, the mean and its interval, by name."""
    places = _places([ends for _, _, ends in rows.values()])
    drawn = [
        Strip(name, values, mean, ends, colours.get(name, OTHER), _mean_and_interval(mean, ends, places))
        for name, (values, mean, ends) in rows.items()
    ]
    return strips(drawn, axis) if drawn else None
