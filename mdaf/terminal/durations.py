"""Durations and times of day as people say them."""

from __future__ import annotations

from datetime import datetime


def in_words(seconds: float) -> str:
    """A duration as text, such as 45 s, 12 min or 3 h 20 min."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def time_of(when: float, now: float) -> str:
    """A time (unix seconds) as 14:32, or with its date if that is another day than ``now``'s."""
    there, here = datetime.fromtimestamp(when), datetime.fromtimestamp(now)
    return f"{there:%H:%M}" if there.date() == here.date() else f"{there:%Y-%m-%d %H:%M}"
