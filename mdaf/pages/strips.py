"""A picture of rows on one axis: a dot for each seed, the mean, and its interval, as SVG that follows the page's style.

Places are in per cent of the width, so that texts keep their size on a phone and on paper.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

ROW = 64  # pixels
EDGE = 4.0  # per cent of the width that stays free on each side
MOST_TICKS = 5


@dataclass(frozen=True)
class Strip:
    """A row: its values, their mean and its interval, in the axis' unit.

    ``figures``  mean and interval as text; ``said``: what readers of the screen hear besides.
    """

    name: str
    values: Sequence[float]
    mean: float
    interval: tuple[float, float] | None
    colour: str
    figures: str
    said: str = ""


def strips(
    rows: Sequence[Strip],
    axis: str,
    *,
    zero: bool = False,
    margin: float | None = None,
    sides: tuple[str, str] = ("", ""),
    signed: bool = False,
) -> str:
    """The picture of the rows; ``axis`` is what they are values of, with its unit.

    ``zero``    whether the axis shows zero, as that of differences does; ``margin``: a band of this size around it.
    ``sides``   what the left and the right side of zero mean.
    ``signed``  whether numbers of the axis have their sign.
    """
    scale = _Scale.of(rows, zero, margin)
    top = 26 if any(sides) else 4
    bottom = top + ROW * len(rows)
    parts = list(_axis(scale, axis, top, bottom, signed))
    if margin is not None:
        left, right = scale(-margin), scale(margin)
        parts.append(
            f'<rect class="margin" x="{left:.2f}%" y="{top}" width="{right - left:.2f}%" height="{bottom - top}"/>'
        )
    if zero:
        parts.append(_line("zero", scale(0), top, scale(0), bottom))
    if any(sides):
        parts.append(f'<text x="0" y="15">{html.escape(sides[0])}</text>')
        parts.append(f'<text x="100%" y="15" text-anchor="end">{html.escape(sides[1])}</text>')
    for index, row in enumerate(rows):
        parts += _row(row, scale, top + ROW * index)
    said = " ".join(f"{row.name}: {row.said}mean and interval {row.figures}." for row in rows)
    label = html.escape(f"{axis}. {said}", quote=True)
    inside = "\n".join(parts)
    return f'<svg class="strips" role="img" aria-label="{label}" height="{bottom + 44}">\n{inside}\n</svg>'


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float

    @classmethod
    def of(cls, rows: Sequence[Strip], zero: bool, margin: float | None) -> _Scale:
        held = [value for row in rows for value in (*row.values, row.mean, *(row.interval or ()))]
        held += [0.0] if zero else []
        held += [-margin, margin] if margin is not None else []
        low, high = min(held), max(held)
        around = 0.0 if high > low else abs(low) / 100 or 0.001  # of values that are all the same
        return cls(low - around, high + around)

    def __call__(self, value: float) -> float:
        return EDGE + (100 - 2 * EDGE) * (value - self.low) / (self.high - self.low)

    @property
    def ticks(self) -> list[float]:
        step = _step((self.high - self.low) / (MOST_TICKS - 1))
        first = math.ceil(self.low / step - 1e-9)
        return [number * step for number in range(first, math.floor(self.high / step + 1e-9) + 1)]


def _step(least: float) -> float:
    """The smallest of 1, 2 and 5 times a power of ten that is not below ``least``."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))


def _axis(scale: _Scale, axis: str, top: int, bottom: int, signed: bool) -> Iterator[str]:
    ticks = scale.ticks
    step = ticks[1] - ticks[0] if len(ticks) > 1 else abs(ticks[0]) if ticks and ticks[0] else 1.0
    places = max(0, -math.floor(math.log10(step) + 1e-9))
    for tick in ticks:
        at = scale(tick)
        yield _line("grid", at, top, at, bottom)
        sign = "+" if signed and abs(tick) > step / 2 else ""
        text = f"{tick if abs(tick) > step / 2 else 0.0:{sign}.{min(places, 12)}f}"
        yield f'<text x="{at:.2f}%" y="{bottom + 17}" text-anchor="middle">{text}</text>'
    yield f'<text x="50%" y="{bottom + 38}" text-anchor="middle">{html.escape(axis)}</text>'


def _row(row: Strip, scale: _Scale, top: int) -> Iterator[str]:
    middle = top + 36
    yield f'<g style="--c:{row.colour}">'
    yield f'<text class="name" x="0" y="{top + 18}">{html.escape(row.name)}</text>'
    yield f'<text class="figures" x="100%" y="{top + 18}" text-anchor="end">{html.escape(row.figures)}</text>'
    for value in row.values:
        yield f'<circle class="seed" cx="{scale(value):.2f}%" cy="{middle + 15}" r="4"/>'
    if row.interval is not None:
        yield _line("interval", scale(row.interval[0]), middle, scale(row.interval[1]), middle)
    yield f'<circle class="mean" cx="{scale(row.mean):.2f}%" cy="{middle}" r="7"/>'
    yield "</g>"


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1:.2f}%" y1="{y1}" x2="{x2:.2f}%" y2="{y2}"/>'
