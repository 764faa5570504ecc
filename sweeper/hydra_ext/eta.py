"""Estimates how long a whole command will take. The estimate is logged once, after the first epoch."""

from __future__ import annotations

import datetime
import math
import time
from dataclasses import dataclass

from mdaf.terminal.durations import in_words


@dataclass
class Plan:
    """The number of ``runs`` of a command, and in how many processes they run ``at_once``."""

    runs: int
    at_once: int = 1


_plan: Plan | None = None


def expect(plan: Plan | None) -> None:
    """Sets the runs of this process's command. None: they are unknown, or another process logs the estimate."""
    global _plan
    _plan = plan


def share(processes: int) -> None:
    """The expected runs are shared out over so many processes."""
    if _plan is not None:
        _plan.at_once *= processes


def already_there() -> None:
    """One of the expected runs was finished earlier, and takes no time."""
    if _plan is not None:
        _plan.runs -= 1


def after_first_epoch(seconds: float, epoch: int, epochs: int, in_lock_step: int, once: float = 0.0) -> str | None:
    """The estimate as a sentence; None if there was one already, or if there is nothing to estimate.

    ``seconds``       the duration of the epoch.
    ``epoch``         the first epoch of this process. It is above 1 if the run was resumed.
    ``epochs``        the epochs of each run.
    ``in_lock_step``  how many runs trained at the same time.
    ``once``          the part of ``seconds`` that no later epoch takes: kernels were compiled.
    """
    global _plan
    plan, _plan = _plan, None
    if plan is None or plan.runs * epochs <= 1:
        return None
    rounds = math.ceil(plan.runs / (max(1, in_lock_step) * plan.at_once))
    seconds_left = (rounds * epochs - epoch) * max(0.0, seconds - once)
    end = datetime.datetime.fromtimestamp(time.time() + seconds_left)
    runs = f"{plan.runs} runs of {epochs} {'epoch' if epochs == 1 else 'epochs'}"
    if epoch > 1:
        return f"estimate of what is left of {runs}: about {in_words(seconds_left)}, until {end:%Y-%m-%d %H:%M}"
    return f"estimate of the whole: {runs} take about {in_words(seconds_left + seconds)}, until {end:%Y-%m-%d %H:%M}"
