"""One colour for each point, the same in the report, in the plots of a study, in those of a store and on the live page.

The colours differ for readers who do not see red, green or blue, and each has a contrast of at least 3 to 1 on white
and on the dark background, so that one set serves both.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import cycle
from typing import Final

BEST: Final = "#d55e00"  # the winner, or the best trial or point of a study
BASELINE: Final = "#0a6fb5"  # what the winner is compared with
OTHER: Final = "#7d8590"  # whatever has no name
FREE: Final = (BASELINE, "#0b8f6a", "#c575b2", "#6c5fd0", "#947500")  # for points with other names, in their order
NAMED: Final = {
    "winner": BEST,
    "runner-up": BEST,
    "balanced": BASELINE,
    "strong": FREE[1],
    "weak": FREE[2],
}
#: Train, validation, test.
SPLITS: Final = (OTHER, BASELINE, BEST)


def colours_of(names: Iterable[str], best: str | None = None) -> dict[str, str]:
    """Name -> colour, in the order of the names: points that are always there have their own, others a free one.

    ``best``  the one that has the colour of the best.
    """
    found = dict.fromkeys(names, "")
    fixed = {name: NAMED[name] for name in found if name in NAMED}
    if best in found and best not in NAMED:
        fixed[str(best)] = BEST
    taken = set(fixed.values())
    free = cycle([colour for colour in FREE if colour not in taken] or FREE)
    return {name: fixed.get(name) or next(free) for name in found}


def with_opacity(colour: str, opacity: float) -> str:
    """A colour of this palette as CSS, partly transparent."""
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"
