"""Retries: trials that wait with the point of one that died, or that ran out of memory.

A trial that is to be tried again says so *before* it fails (``RETRY``). So there is no moment at which a failed trial
is neither over nor expected again, and a process that dies in between is made good by the next one that looks.

Optuna knows waiting trials, but any number of processes may enqueue the same point at once. Here each carries a key,
and of those with one key the lowest number stands; the others are withdrawn by whoever sees them first.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState, create_trial

from sweeper.attributes import (
    DEATHS,
    ENQUEUED_AS,
    LEASE_EXPIRES,
    POINT,
    RETRY,
    RETRY_OF,
    RETRY_OVERRIDES,
    WITHDRAWN,
)

PATIENCE_SECONDS = 5.0
INHERITED = (POINT, DEATHS, RETRY_OVERRIDES)  # by a retry


def point_of(trial: FrozenTrial) -> dict[str, Any]:
    """What is decided of a trial's point: the enqueued values and the sampled ones."""
    return {**trial.system_attrs.get("fixed_params", {}), **trial.params}


def enqueue(study: optuna.Study, key: str, point: Mapping[str, Any], attributes: Mapping[str, Any]) -> int:
    """Puts a point in line once, however many processes do so under this key; the number of the trial that stands."""
    trials = study.get_trials(deepcopy=False)
    if (number := _first(trials, key)) is not None:
        return number
    trial = create_trial(
        state=TrialState.WAITING,
        system_attrs={"fixed_params": dict(point)},
        # It has a lease from the moment that it runs, if only an old one: whoever takes it signs it after.
        user_attrs={**attributes, ENQUEUED_AS: key, LEASE_EXPIRES: 0.0},
    )
    study._storage.create_new_trial(study._study_id, template_trial=trial)
    trials = study.get_trials(deepcopy=False)
    withdraw_doubles(study, trials)
    first = _first(trials, key)
    assert first is not None
    return first


def doubles(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Unfinished trials that another one of the same key and a lower number makes superfluous."""
    standing: set[str] = set()
    found = []
    for trial in sorted(trials, key=lambda trial: trial.number):
        key = trial.user_attrs.get(ENQUEUED_AS)
        if key in standing and not trial.state.is_finished():
            found.append(trial)
        elif key is not None:
            standing.add(key)
    return found


def withdraw_doubles(study: optuna.Study, trials: Sequence[FrozenTrial]) -> None:
    """Ends the waiting trials that are in line twice."""
    for trial in doubles(trials):
        if trial.state is TrialState.WAITING:
            withdraw(study, trial._trial_id, "the same point was enqueued before")


def withdraw(study: optuna.Study, trial_id: int, reason: str) -> None:
    """Ends a trial that never began, because another one has its place."""
    try:
        study._storage.set_trial_user_attr(trial_id, WITHDRAWN, reason)
        study._storage.set_trial_state_values(trial_id, TrialState.FAIL)
    except UpdateFinishedTrialError:
        return  # another process withdrew it


def retries_owed(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Failed trials that are to be tried again and are not in line yet."""
    keys = {trial.user_attrs.get(ENQUEUED_AS) for trial in trials}
    failed = (trial for trial in trials if trial.state is TrialState.FAIL and RETRY in trial.user_attrs)
    return [trial for trial in failed if _retry_key(trial) not in keys]


def enqueue_retries(study: optuna.Study, *, at_once: Collection[int] = ()) -> dict[int, int]:
    """Puts the points in line that are to be tried again; a failed trial's number -> its retry's.

    Who told a trial FAIL enqueues its retry ``at_once``. What somebody else told is left to them for
    ``PATIENCE_SECONDS``, so that processes which look at the same moment do not all enqueue it.
    """
    retries = {}
    for trial in retries_owed(study.get_trials(deepcopy=False)):
        if trial.number not in at_once and _age(trial) < PATIENCE_SECONDS:
            continue
        inherited = {name: trial.user_attrs[name] for name in INHERITED if name in trial.user_attrs}
        attributes = {**inherited, **trial.user_attrs[RETRY], RETRY_OF: trial.number}
        retries[trial.number] = enqueue(study, _retry_key(trial), point_of(trial), attributes)
    return retries


def _age(trial: FrozenTrial) -> float:
    """Seconds since a trial ended; endless where another machine's clock is ahead of ours."""
    assert trial.datetime_complete is not None
    seconds = (datetime.now() - trial.datetime_complete).total_seconds()
    return seconds if seconds >= 0 else math.inf


def _retry_key(trial: FrozenTrial) -> str:
    return f"retry of {trial.number}"


def _first(trials: Sequence[FrozenTrial], key: str) -> int | None:
    return min((trial.number for trial in trials if trial.user_attrs.get(ENQUEUED_AS) == key), default=None)
