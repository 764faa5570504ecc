"""Retries: trials that wait with the point of one that was interrupted, died, or ran out of memory.

The process that ends such a trial first marks it for a retry (``RETRY``), then sets its state to FAIL, then enqueues
its point. If it dies before the last step, the next process that looks at the study enqueues the point.

A trial that failed otherwise is tried again where its point is a known one or a grid's and another sweep goes on, or
where a user asks for it (``mdaf-study retry``).

Optuna knows waiting trials, but any number of processes may enqueue the same point at once. So each such trial carries
a key. Of the trials with one key, the one with the lowest number is kept; any process that sees another one
withdraws it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState, create_trial

from mdaf.sweeper.storage.late_reads import attribute, holds
from mdaf.sweeper.storage.optuna_internals import add_trial, storage_of, trial_id_of
from mdaf.sweeper.trials.user_attrs import (
    DEATHS,
    DIED,
    ENQUEUED_AS,
    ERROR,
    FAILED_BY,
    INTERRUPTIONS,
    LEASE_EXPIRES,
    POINT,
    POINT_ID,
    RETRY,
    RETRY_OF,
    RETRY_OVERRIDES,
    SEED,
    WITHDRAWN,
)

GRACE_SECONDS = 5.0
UNFINISHED = (TrialState.RUNNING, TrialState.WAITING)
PointKey = tuple[tuple[str, Any], ...]
BY_ITS_POINT, BY_WHAT_WAS_TYPED = "point", "typed"  # what a trial may have failed by
WHICH_RUN = (POINT, POINT_ID, SEED)
INHERITED = (*WHICH_RUN, DEATHS, INTERRUPTIONS, RETRY_OVERRIDES)  # by a retry


def point_of(trial: FrozenTrial) -> dict[str, Any]:
    """What is decided of a trial's point: the enqueued values and the sampled ones."""
    return {**trial.system_attrs.get("fixed_params", {}), **trial.params}


def duplicates(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Unfinished trials that another one of the same key and a lower number makes superfluous."""
    if not any(ENQUEUED_AS in trial.user_attrs for trial in trials if trial.state in UNFINISHED):
        return []
    kept: set[str] = set()
    found = []
    for trial in sorted(trials, key=lambda trial: trial.number):
        key = attribute(trial, ENQUEUED_AS)
        if key in kept and trial.state in UNFINISHED:
            found.append(trial)
        elif key is not None:
            kept.add(key)
    return found


def owed_retries(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Failed trials that are to be tried again and are not in line yet."""
    failed = [trial for trial in trials if trial.state is TrialState.FAIL and holds(trial, RETRY)]
    keys = {attribute(trial, ENQUEUED_AS) for trial in trials} if failed else set()
    return [trial for trial in failed if _retry_key(trial) not in keys]


@dataclass(frozen=True)
class FailedPoint:
    """A point of which every trial failed and none waits to be tried again.

    ``last``      the last trial of the point.
    ``failures``  how many of its trials failed. A mistake in the config and the death of a process do not count.
    """

    last: FrozenTrial
    failures: int

    @property
    def why_never_again(self) -> str | None:
        """Why a sweep does not try it again by itself, however often it failed; None where it may."""
        if DIED in self.last.user_attrs:
            return f"its process died {self.last.user_attrs.get(DEATHS, 0) + 1} times"
        if self.last.user_attrs.get(FAILED_BY) == BY_ITS_POINT:
            return f"it failed by itself: {self.last.user_attrs.get(ERROR)}"
        return None


def failed_points(trials: Sequence[FrozenTrial], names: Sequence[str] | None = None) -> dict[PointKey, FailedPoint]:
    """The points of which every trial failed and none waits to be tried again, by ``key_of_point``.

    With ``names``, points that have the same values of these parameters count as one point.
    """
    owed = {trial.number for trial in owed_retries(trials)}
    at: dict[PointKey, list[FrozenTrial]] = {}
    for trial in sorted(trials, key=lambda trial: trial.number):
        if not holds(trial, WITHDRAWN) and (point := point_of(trial)):
            at.setdefault(key_of_point(point, names), []).append(trial)
    found = {}
    for key, tries in at.items():
        if all(trial.state is TrialState.FAIL and trial.number not in owed for trial in tries):
            own = [t for t in tries if DIED not in t.user_attrs and t.user_attrs.get(FAILED_BY) != BY_WHAT_WAS_TYPED]
            found[key] = FailedPoint(tries[-1], len(own))
    return found


def key_of_point(point: Mapping[str, Any], names: Sequence[str] | None = None) -> PointKey:
    """What tells a point from others by its values of the parameters ``names``, or of all."""
    return tuple(
        (name, json.dumps(value, sort_keys=True) if isinstance(value := point.get(name), list | dict) else value)
        for name in (sorted(point) if names is None else names)
    )


def tried_again_as(trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
    """The latest trial of a failed one's point, in a race of its seed too, if it is a later or a better one."""
    key = key_of_point(point_of(trial))
    same = [t for t in trials if WITHDRAWN not in t.user_attrs and point_of(t) and key_of_point(point_of(t)) == key]
    if POINT_ID in trial.user_attrs:  # in a race, another seed is another run
        same = [other for other in same if other.user_attrs.get(SEED) == trial.user_attrs.get(SEED)]
    same = [other for other in same if other.number > trial.number or other.state is not TrialState.FAIL]
    return max(same, key=lambda other: other.number, default=None)


def earlier_tries(attributes: Mapping[str, Any], trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The trials whose point a trial with these attributes tries again, the latest first."""
    if RETRY_OF not in attributes:
        return []
    numbered = {trial.number: trial for trial in trials}
    found: list[FrozenTrial] = []
    while isinstance(number := attributes.get(RETRY_OF), int) and number in numbered:
        found.append(numbered.pop(number))  # each once, whatever a database says
        attributes = found[-1].user_attrs
    return found


def draw_of(trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> int:
    """Which draw of the sampler gives a trial its point: its number, not counting those before it that drew nothing.

    These are retries, and trials that ended before they had a point. So a sweep that was interrupted draws what it
    would have drawn otherwise.
    """
    first = [trial, *earlier_tries(trial.user_attrs, trials)][-1].number
    may_have = [other for other in trials if other.state is TrialState.FAIL or RETRY_OF in other.user_attrs]
    return first - sum(other.number < first and _drew_nothing(other, trials) for other in may_have)


def _drew_nothing(trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> bool:
    """Whether a trial took a number and no draw. One that another trial had counted already keeps its draw."""
    if RETRY_OF in trial.user_attrs:
        return True
    if trial.state is not TrialState.FAIL or DIED not in trial.user_attrs or point_of(trial):
        return False
    later = (other.datetime_start for other in trials if other.number > trial.number)
    ended = trial.datetime_complete
    return ended is not None and all(began is None or began >= ended for began in later)


class Retries:
    """The trials of a study that wait with a point, and the ways in which any process puts one there."""

    def __init__(self, study: optuna.Study) -> None:
        self.study = study

    def enqueue(self, key: str, point: Mapping[str, Any], attributes: Mapping[str, Any]) -> int:
        """Puts a point in line once, however many processes do so under this key; the number of its trial."""
        trials = self.study.get_trials(deepcopy=False)
        if (number := _first(trials, key)) is not None:
            return number
        trial = create_trial(
            state=TrialState.WAITING,
            system_attrs={"fixed_params": dict(point)},
            # It has a lease from the moment that it runs, if only an old one: whoever takes it signs it after.
            user_attrs={**attributes, ENQUEUED_AS: key, LEASE_EXPIRES: 0.0},
        )
        add_trial(self.study, trial)
        trials = self.study.get_trials(deepcopy=False)
        self.withdraw_duplicates(trials)
        first = _first(trials, key)
        assert first is not None
        return first

    def enqueue_owed(self, *, at_once: Collection[int] = ()) -> dict[int, int]:
        """Puts the points in line that are to be tried again; a failed trial's number -> its retry's.

        Who told a trial FAIL enqueues its retry ``at_once``. What somebody else told is left to them for
        ``GRACE_SECONDS``, so that processes which look at the same moment do not all enqueue it.
        """
        retries = {}
        for trial in owed_retries(self.study.get_trials(deepcopy=False)):
            if trial.number not in at_once and _age(trial) < GRACE_SECONDS:
                continue
            inherited = {name: trial.user_attrs[name] for name in INHERITED if name in trial.user_attrs}
            attributes = {**inherited, **trial.user_attrs[RETRY], RETRY_OF: trial.number}
            retries[trial.number] = self.enqueue(_retry_key(trial), point_of(trial), attributes)
        return retries

    def enqueue_again(self, trial: FrozenTrial) -> int:
        """Puts the point of a failed trial in line; the number of the trial that stands for it.

        What is typed by then counts: neither its deaths nor a smaller micro-batch is inherited.
        """
        same_run = {name: trial.user_attrs[name] for name in WHICH_RUN if name in trial.user_attrs}
        return self.enqueue(_retry_key(trial), point_of(trial), {**same_run, RETRY_OF: trial.number})

    def withdraw_duplicates(self, trials: Sequence[FrozenTrial]) -> None:
        """Ends the waiting trials that are in line twice."""
        for trial in duplicates(trials):
            if trial.state is TrialState.WAITING:
                self.withdraw(trial_id_of(trial), "the same point was enqueued before")

    def withdraw(self, trial_id: int, reason: str) -> None:
        """Ends a trial that never began, because another one counts instead of it."""
        try:
            storage_of(self.study).set_trial_user_attr(trial_id, WITHDRAWN, reason)
            storage_of(self.study).set_trial_state_values(trial_id, TrialState.FAIL)
        except UpdateFinishedTrialError:
            return  # another process withdrew it


def _age(trial: FrozenTrial) -> float:
    """Seconds since a trial ended; endless where another machine's clock is ahead of ours."""
    assert trial.datetime_complete is not None
    seconds = (datetime.now() - trial.datetime_complete).total_seconds()
    return seconds if seconds >= 0 else math.inf


def _retry_key(trial: FrozenTrial) -> str:
    return f"retry of {trial.number}"


def _first(trials: Sequence[FrozenTrial], key: str) -> int | None:
    return min((trial.number for trial in trials if trial.user_attrs.get(ENQUEUED_AS) == key), default=None)
