"""Estimates how long the rest of a command takes. It is logged once, when the pace is known.

The first epoch of a process compiles, captures graphs and fills caches, and tells little of later ones. So the second
epoch decides, of the same run or of the next one. A first epoch that is long gives an upper bound before.
"""

from __future__ import annotations

import datetime
import math
import time
from dataclasses import dataclass

from mdaf.terminal.durations import in_words

LONG = 60.0  # seconds of a first epoch after which nobody should wait for the second one to know how long all takes


@dataclass
class Plan:
    """The ``runs`` of a command, in how many processes they run ``at_once``, and how many groups began in this one."""

    runs: int
    at_once: int = 1
    begun: int = 0
    warm: bool = False


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


class Group:
    """The epochs of ``runs`` runs of ``epochs`` epochs that train in lock-step.

    ``compiled``   the seconds that this process has compiled so far; no later epoch takes them.
    ``same_runs``  the group goes on with runs that an earlier one has begun.
    """

    def __init__(self, runs: int, epochs: int, compiled: float, *, same_runs: bool = False) -> None:
        self._runs, self._epochs, self._compiled = runs, epochs, compiled
        self._last = 0
        if _plan is not None:
            _plan.begun += not same_runs
            _plan.warm &= not same_runs  # they go on because the device is another one

    def after_epoch(self, epoch: int, seconds: float, compiled: float) -> str | None:
        """The estimate as a sentence; None if it is not known yet, was given already, or if nothing is left.

        Each run of the group may ask: what is asked again of an epoch is None.
        """
        global _plan
        plan = _plan
        if plan is None or epoch <= self._last:
            return None
        pace = max(0.0, seconds - (compiled - self._compiled))
        self._last, self._compiled = epoch, compiled
        known, plan.warm = plan.warm, True
        if not known and pace < LONG:
            return None
        rounds = math.ceil(plan.runs / (max(1, self._runs) * plan.at_once))
        left = ((rounds - plan.begun + 1) * self._epochs - epoch) * pace
        if known:
            _plan = None
        return _said(plan, self._epochs, left, known=known) if left > 0 else None


def _said(plan: Plan, epochs: int, left: float, *, known: bool) -> str:
    end = datetime.datetime.fromtimestamp(time.time() + left)
    runs = f"{plan.runs} {'run' if plan.runs == 1 else 'runs'} of {epochs} {'epoch' if epochs == 1 else 'epochs'}"
    said = f"estimate of what is left of {runs}: {'about' if known else 'at most'} {in_words(left)}"
    return f"{said}, until {end:%Y-%m-%d %H:%M}{'' if known else '; the next epoch tells more'}"
