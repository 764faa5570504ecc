"""How long the whole of a command will take, said once, after its first epoch."""

from __future__ import annotations

import datetime
import math
import time
from dataclasses import dataclass


@dataclass
class Plan:
    """``runs`` that are to be made, ``at_once`` of them in processes of their own."""

    runs: int
    at_once: int = 1


_plan: Plan | None = None


def expect(plan: Plan | None) -> None:
    """What this process's command is about to run; None: that is not known, or said by another process."""
    global _plan
    _plan = plan


def after_first_epoch(seconds: float, epochs: int, together: int) -> str | None:
    """The estimate in words, from the ``seconds`` of one epoch of ``together`` runs; None if it was said before."""
    global _plan
    plan, _plan = _plan, None
    if plan is None or plan.runs * epochs <= 1:
        return None
    rounds = math.ceil(plan.runs / (max(1, together) * plan.at_once))
    whole = rounds * epochs * seconds
    end = datetime.datetime.fromtimestamp(time.time() + whole - seconds)
    return (
        f"estimate of the whole: {plan.runs} runs of {epochs} epochs take about {in_words(whole)}, "
        f"until {end:%Y-%m-%d %H:%M}"
    )


def in_words(seconds: float) -> str:
    """Such as 45 s, 12 min, 3 h 20 min."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
