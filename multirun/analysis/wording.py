"""How figures are written in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

ABSENT = "-"


def auc4(value: float | None) -> str:
    """An AUC or another share."""
    return ABSENT if value is None else f"{value:.4f}"


def signed(value: float | None) -> str:
    """A difference, to a tenth of a basis point."""
    return ABSENT if value is None else f"{value:+.5f}"


def standard_error(value: float | None) -> str:
    """The error of a difference, to a tenth of a basis point."""
    return ABSENT if value is None else f"{value:.5f}"


def interval(ends: Sequence[float] | None, form: str = ".4f") -> str:
    """Both ends, or a dash."""
    return ABSENT if ends is None else f"[{ends[0]:{form}}, {ends[1]:{form}}]"


def within(ends: Sequence[float] | None, low: float = 0.0, high: float = 1.0) -> tuple[float, float] | None:
    """An interval of what cannot lie outside of these bounds, as an AUC cannot, cut off there."""
    return None if ends is None else (max(low, ends[0]), min(high, ends[1]))


def confidence(alpha: float, looks: int) -> str:
    """What an interval at one minus the level of a look is called: by the probability with which all looks hold it."""
    return f"{100 * (1 - alpha):g} % interval{' over all looks' if looks > 1 else ''}"


def p_value(p: float | None) -> str:
    """A p, not smaller than can be told."""
    if p is None:
        return ABSENT
    return "< 0.0001" if p < 0.0001 else f"{p:.4f}"


def number(value: Any) -> str:
    """A setting or a figure of any kind, short."""
    if value is None:
        return ABSENT
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def duration(seconds: float) -> str:
    """Seconds in the unit that suits."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def listed(names: Sequence[Any]) -> str:
    """A list in a sentence."""
    words = [str(name) for name in names]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else "none"


def several(count: int, noun: str) -> str:
    """``1 run``, ``2 runs``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def short(commit: str) -> str:
    """A commit as people name it, with what says that the tree had changes; of a run in parts each of them."""
    if not commit:
        return ABSENT
    parts = (part.partition("+") for part in commit.split(", then "))
    return ", then ".join(name[:12] + plus + changes for name, plus, changes in parts)
