"""How long the rest of a sweep takes, measured on its trials without what only a first trial pays.

The first trial of a process imports, compiles kernels and fills caches. So trials that began before their process had
ended any are left out, unless there are no others.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from optuna.trial import FrozenTrial, TrialState

from mdaf.sweeper.storage.late_reads import holds
from mdaf.sweeper.trials.leases import holders
from mdaf.sweeper.trials.user_attrs import SAME_RUN_AS

LATEST = 20  # trials that the pace is measured on, since later ones tell more of what is to come


@dataclass(frozen=True)
class Pace:
    """The mean duration of a trial in seconds; ``at_most``: all that is known includes compilation."""

    seconds: float
    at_most: bool = False


def pace_of(trials: Sequence[FrozenTrial]) -> Pace | None:
    """The pace of trials that came to an end by themselves; None if there is none yet."""
    ended = [trial for trial in trials if _has_run(trial)]
    ended.sort(key=lambda trial: trial.datetime_complete or datetime.min)
    warm = _without_first(ended)
    if warm:
        return Pace(statistics.fmean(map(_seconds, warm[-LATEST:])))
    if not ended:
        return None
    each_alone = len({_process(trial) for trial in ended}) == len(ended) > 1  # a process a job: each of them compiles
    return Pace(statistics.fmean(map(_seconds, ended[-LATEST:])), at_most=not each_alone)


def seconds_left(pace: Pace, waiting: int, running: Sequence[float], at_once: int) -> float:
    """How long it takes until all trials have ended.

    ``waiting``  trials that have not begun.
    ``running``  seconds since each running trial began.
    ``at_once``  how many trials run at the same time.
    """
    begun = [max(0.0, pace.seconds - seconds) for seconds in running]
    rounds = math.ceil(waiting / max(1, at_once)) if pace.at_most else waiting / max(1, at_once)
    return rounds * pace.seconds + sum(begun) / max(1, len(begun))


def _has_run(trial: FrozenTrial) -> bool:
    known = trial.datetime_start is not None and trial.datetime_complete is not None
    return known and trial.state in (TrialState.COMPLETE, TrialState.PRUNED) and not holds(trial, SAME_RUN_AS)


def _without_first(ended: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The trials that began after their process had ended another one."""
    first_end: dict[str, datetime] = {}
    processes = list(map(_process, ended))
    for trial, process in zip(ended, processes, strict=True):
        assert trial.datetime_complete is not None
        first_end.setdefault(process, trial.datetime_complete)
    return [
        trial
        for trial, process in zip(ended, processes, strict=True)
        if trial.datetime_start is not None and trial.datetime_start >= first_end[process]
    ]


def _process(trial: FrozenTrial) -> str:
    """The process that ran the trial; another program's trials do not say, and count as those of one process."""
    return next(reversed(holders(trial)), "")


def _seconds(trial: FrozenTrial) -> float:
    assert trial.datetime_start is not None
    assert trial.datetime_complete is not None
    return (trial.datetime_complete - trial.datetime_start).total_seconds()
