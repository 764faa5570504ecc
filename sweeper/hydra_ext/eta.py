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


def already_there() -> None:
    """One of the runs that were expected is finished from before, and takes no time."""
    if _plan is not None:
        _plan.runs -= 1


def after_first_epoch(seconds: float, epoch: int, epochs: int, in_lock_step: int) -> str | None:
    """The estimate in words, once ``in_lock_step`` runs have done ``epoch``; None if it was said before.

    ``epoch`` is the first one of this process: a run that goes on has done the ones before it already, and what is left
    is counted from here.
    """
    global _plan
    plan, _plan = _plan, None
    if plan is None or plan.runs * epochs <= 1:
        return None
    rounds = math.ceil(plan.runs / (max(1, in_lock_step) * plan.at_once))
    left = (rounds * epochs - epoch) * seconds
    end = datetime.datetime.fromtimestamp(time.time() + left)
    runs = f"{plan.runs} runs of {epochs} epochs"
    if epoch > 1:
        return f"estimate of what is left of {runs}: about {in_words(left)}, until {end:%Y-%m-%d %H:%M}"
    return f"estimate of the whole: {runs} take about {in_words(left + seconds)}, until {end:%Y-%m-%d %H:%M}"


def in_words(seconds: float) -> str:
    """Such as 45 s, 12 min, 3 h 20 min."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
