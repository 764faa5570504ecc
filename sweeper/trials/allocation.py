"""A study's places: exactly ``n_trials`` trials finish, whatever number of processes ask, fail or are killed.

The trials that stand (finished, running or waiting) are counted by number. A trial has a place if fewer than
``n_trials`` stand before it. Numbers are given out by the database one after the other and a trial never comes to
stand after it fell, so every process that looks comes to the same answer, and none needs a lock.

Planned points (known ones, a grid) are given to new trials before the sampler is asked, each to one.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from mdaf.errors import StoppedError
from mdaf.process import this_process
from mdaf.sweeper.storage.optuna_internals import add_trial, cache_trials, storage_of, trial_id_of
from mdaf.sweeper.trials.leases import Leases, lease
from mdaf.sweeper.trials.retries import (
    FailedPoint,
    PointKey,
    doubles,
    enqueue_again,
    enqueue_retries,
    failed_points,
    key_of_point,
    point_of,
    retries_owed,
    withdraw,
)
from mdaf.sweeper.trials.user_attrs import LEASE_EXPIRES, POINT, WITHDRAWN, WORKER

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
MOST_NAMED = 5  # points in one line of the log

log = logging.getLogger(__name__)

Planned = Sequence[tuple[str, dict[str, Any]]]  # name and point


def standing(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The trials that fill a place, by number: finished, waiting, or running with a lease (others are not ours)."""
    double = {trial.number for trial in doubles(trials)}
    found = [
        trial
        for trial in trials
        if trial.number not in double
        and (
            trial.state in (*FINISHED, TrialState.WAITING)
            or (trial.state is TrialState.RUNNING and LEASE_EXPIRES in trial.user_attrs)
        )
    ]
    return sorted(found, key=lambda trial: trial.number)


def still_planned(planned: Planned, trials: Sequence[FrozenTrial]) -> list[tuple[str, dict[str, Any]]]:
    """The planned points that the study has not had, under whatever name."""
    had: dict[tuple[str, ...], set[tuple[Any, ...]]] = {}
    points = [point_of(trial) for trial in trials if WITHDRAWN not in trial.user_attrs]
    left = []
    for name, point in planned:
        names = tuple(point)
        if names not in had:
            had[names] = {tuple(other.get(name) for name in names) for other in points}
        if tuple(point.values()) not in had[names]:
            left.append((name, point))
    return left


def failed_of(planned: Planned, trials: Sequence[FrozenTrial]) -> list[tuple[str, FailedPoint]]:
    """The planned points that failed whenever they were tried, with their names."""
    failed: dict[tuple[str, ...], dict[PointKey, FailedPoint]] = {}
    found = []
    for name, point in planned:
        names = tuple(point)
        if names not in failed:
            failed[names] = failed_points(trials, names)
        if (one := failed[names].get(key_of_point(point, names))) is not None:
            found.append((name, one))
    return found


def try_again(study: optuna.Study, planned: Planned, n_trials: int, max_retries: float, began: float) -> None:
    """Puts the planned points in line that failed before a sweep began, ``max_retries`` times each, and says so.

    What made them fail may have been mended since: a path, a package, a machine. Those that failed of themselves, or
    took their processes with them, are left out.
    """
    trials = study.get_trials(deepcopy=False)
    room = n_trials - len(standing(trials)) - len(retries_owed(trials))
    again, never = [], []
    for name, failed in failed_of(planned, trials):
        ended = failed.last.datetime_complete
        if room <= 0 or ended is None or ended.timestamp() >= began:
            continue
        what = f"{name} (trial {failed.last.number})"
        why = failed.why_never_again
        if why is None and failed.failures > max_retries:
            why = f"it failed {failed.failures} times"
        if why is not None:
            never.append(f"{what}: {why}")
            continue
        enqueue_again(study, failed.last)
        room -= 1
        again.append(what)
    if again:
        log.info("failed before, and tried again: %s", several(again))
    if never:
        log.warning("failed before, and not tried again unless by mdaf-study retry: %s", several(never))


class IncompleteGridError(StoppedError):
    """A grid's sweep came to its end without some of its points."""


def say_what_failed(study: optuna.Study, planned: Planned, n_trials: int, *, must_be_whole: bool) -> None:
    """Names the planned points that the results lack. IncompleteGridError where all of them were asked for."""
    trials = study.get_trials(deepcopy=False)
    missing = [(name, failed) for name, failed in failed_of(planned, trials) if failed.why_never_again is None]
    if not missing:
        return
    named = several([f"{name} (trial {failed.last.number})" for name, failed in missing])
    room = n_trials - sum(trial.state in FINISHED for trial in trials)
    greater = "" if room > 0 else f" with hydra.sweeper.n_trials={n_trials + len(missing)}"
    line = (
        f"failed, and not among the results: {named}; the same command{greater} tries them again, and "
        f"mdaf-study show {missing[0][1].last.number} --study {study.study_name} says why"
    )
    if must_be_whole and room > 0:
        raise IncompleteGridError(f"the grid lacks {len(missing)} of its {len(planned)} points, which {line}")
    log.warning(line)


def several(what: Sequence[str]) -> str:
    """Names in a line, the first few of many."""
    rest = len(what) - MOST_NAMED
    return ", ".join(what[:MOST_NAMED]) + (f" and {rest} more" if rest > 0 else "")


class Places:
    """Hands out trials, each held by this process from its first moment.

    ``prepare``       called with a trial's number before the sampler hears of it
    ``only_planned``  no other points are tried, as in a grid
    """

    def __init__(
        self,
        study: optuna.Study,
        n_trials: int,
        leases: Leases,
        *,
        planned: Planned = (),
        only_planned: bool = False,
        prepare: Callable[[int], None] = lambda number: None,
    ) -> None:
        self.study = study
        self.n_trials = n_trials
        self.planned = planned
        self.only_planned = only_planned
        self._leases = leases
        self._prepare = prepare

    def take(self, trials: Sequence[FrozenTrial], attributes: Mapping[str, Any]) -> Trial | None:
        """The next trial, with these user attributes; None while all places are taken.

        ``trials`` is the study as last seen: an old view costs a look more, never a trial too many.
        """
        owed = len(retries_owed(trials))
        if owed and enqueue_retries(self.study):
            trials = self.study.get_trials(deepcopy=False)
            owed = len(retries_owed(trials))
        stand = standing(trials)
        for before, trial in enumerate(stand):
            if trial.state is TrialState.WAITING and before + owed < self.n_trials and self._begin(trial, attributes):
                cache_trials(self.study, None)
                return self._held(trial_id_of(trial), trial.number)
        if len(stand) + owed >= self.n_trials:
            return None
        left = still_planned(self.planned, trials) if self.planned else []
        if self.only_planned and len(left) <= _without_point(stand):
            return None
        return self._new(attributes, assign=bool(left))

    def over(self, trials: Sequence[FrozenTrial]) -> bool:
        """Whether nothing is left to do, here or in any other process."""
        if sum(trial.state in FINISHED for trial in trials) >= self.n_trials:
            return True
        if not self.only_planned or any(not trial.state.is_finished() for trial in standing(trials)):
            return False
        return not retries_owed(trials) and not still_planned(self.planned, trials)

    def _begin(self, trial: FrozenTrial, attributes: Mapping[str, Any]) -> bool:
        """Takes a waiting trial; False if another process did."""
        storage = storage_of(self.study)
        try:
            if LEASE_EXPIRES not in trial.user_attrs:  # enqueued by another program
                storage.set_trial_user_attr(trial_id_of(trial), LEASE_EXPIRES, 0.0)
            if not storage.set_trial_state_values(trial_id_of(trial), TrialState.RUNNING):
                return False
            # Only now: of two that sign before one of them gets it, the loser's name might stay.
            for name, value in {WORKER: this_process(), LEASE_EXPIRES: lease(), **attributes}.items():
                storage.set_trial_user_attr(trial_id_of(trial), name, value)
        except UpdateFinishedTrialError:
            return False
        return True

    def _new(self, attributes: Mapping[str, Any], *, assign: bool) -> Trial | None:
        """Makes a trial that runs, its lease included, in one transaction; gives it back where others were first."""
        held = {**attributes, WORKER: this_process(), LEASE_EXPIRES: lease()}
        template = create_trial(state=TrialState.RUNNING, user_attrs=held)
        trial_id = add_trial(self.study, template)
        trials = self.study.get_trials(deepcopy=False)
        [mine] = [trial for trial in trials if trial_id_of(trial) == trial_id]
        before = sum(trial.number < mine.number for trial in standing(trials))
        if before + len(retries_owed(trials)) >= self.n_trials:
            withdraw(self.study, trial_id, "another process took the last place first")
            return None
        self._leases.hold(trial_id)
        if assign and not self._assign(trial_id, trials) and self.only_planned:
            withdraw(self.study, trial_id, "other processes took the last points first")
            self._leases.release(trial_id)
            return None
        # As Study.ask does, so that samplers see the study as it is now; what was just read is that.
        cache_trials(self.study, trials)
        return self._held(trial_id, mine.number)

    def _assign(self, trial_id: int, trials: Sequence[FrozenTrial]) -> bool:
        """Gives a trial of this process a planned point that no other one has; False if none is left.

        Of processes that write the same point at the same time each sees the other's, or the later one does; who sees
        another's takes a different one. So no point is had twice.
        """
        storage = storage_of(self.study)
        while True:
            others = [trial for trial in trials if trial_id_of(trial) != trial_id]
            left = still_planned(self.planned, others)
            rivals = _without_point(standing(others))
            if not left:
                storage.set_trial_system_attr(trial_id, "fixed_params", {})
                return False
            # The rivals choose at this moment too: numbers decide at first, then chance.
            name, point = left[0] if not rivals else random.choice(left[: rivals + 1])
            storage.set_trial_system_attr(trial_id, "fixed_params", point)
            trials = self.study.get_trials(deepcopy=False)
            others = [trial for trial in trials if trial_id_of(trial) != trial_id]
            if still_planned([(name, point)], others):
                storage.set_trial_user_attr(trial_id, POINT, name)
                return True

    def _held(self, trial_id: int, number: int) -> Trial:
        self._leases.hold(trial_id)
        self._prepare(number)
        return Trial(self.study, trial_id)


def _without_point(trials: Sequence[FrozenTrial]) -> int:
    """How many running trials are about to get a point."""
    return sum(trial.state is TrialState.RUNNING and not point_of(trial) for trial in trials)
