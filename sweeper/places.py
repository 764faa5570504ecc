"""A study's places: exactly ``n_trials`` trials finish, whatever number of processes ask, fail or are killed.

The trials that stand (finished, running or waiting) are counted by number. A trial has a place if fewer than
``n_trials`` stand before it. Numbers are given out by the database one after the other and a trial never comes to
stand after it fell, so every process that looks comes to the same answer, and none needs a lock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from sweeper.lease import LEASE_EXPIRES, WORKER, Leases, lease, this_process
from sweeper.waiting import doubles, enqueue_retries, retries_owed, withdraw

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


def standing(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The trials that fill a place: finished, waiting, or running with a lease (others are another program's)."""
    double = {trial.number for trial in doubles(trials)}
    return [
        trial
        for trial in trials
        if trial.number not in double
        and (
            trial.state in (*FINISHED, TrialState.WAITING)
            or (trial.state is TrialState.RUNNING and LEASE_EXPIRES in trial.user_attrs)
        )
    ]


class Places:
    """Hands out trials, each held by this process from its first moment.

    ``only_enqueued``  no trial is made beyond those that wait
    ``prepare``        called with a trial's number before the sampler hears of it
    """

    def __init__(
        self,
        study: optuna.Study,
        n_trials: int,
        leases: Leases,
        prepare: Callable[[int], None] = lambda number: None,
        only_enqueued: bool = False,
    ) -> None:
        self.study = study
        self.n_trials = n_trials
        self.only_enqueued = only_enqueued
        self._leases = leases
        self._prepare = prepare

    def take(self, attributes: Mapping[str, Any]) -> Trial | None:
        """The next trial, with these user attributes; None while all places are taken."""
        trials = self.study.get_trials(deepcopy=False)
        if retries_owed(trials):
            enqueue_retries(self.study)
            trials = self.study.get_trials(deepcopy=False)
        stand = standing(trials)
        for trial in sorted(stand, key=lambda trial: trial.number):
            if trial.state is TrialState.WAITING and self._has_place(trial, trials) and self._begin(trial, attributes):
                return self._held(trial._trial_id, trial.number)
        if self.only_enqueued or len(stand) + len(retries_owed(trials)) >= self.n_trials:
            return None
        return self._new(attributes)

    def over(self) -> bool:
        """Whether nothing is left to do, here or in any other process."""
        trials = self.study.get_trials(deepcopy=False)
        if sum(trial.state in FINISHED for trial in trials) >= self.n_trials:
            return True
        unfinished = any(not trial.state.is_finished() for trial in standing(trials))
        return self.only_enqueued and not unfinished and not retries_owed(trials)

    def _has_place(self, trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> bool:
        before = sum(other.number < trial.number for other in standing(trials))
        return before + len(retries_owed(trials)) < self.n_trials

    def _begin(self, trial: FrozenTrial, attributes: Mapping[str, Any]) -> bool:
        """Takes a waiting trial; False if another process did. Its holder is known before and after it runs."""
        storage = self.study._storage
        try:
            self._sign(trial._trial_id)
            if not storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING):
                return False
            self._sign(trial._trial_id)
            for name, value in attributes.items():
                storage.set_trial_user_attr(trial._trial_id, name, value)
        except UpdateFinishedTrialError:
            return False
        return True

    def _sign(self, trial_id: int) -> None:
        self.study._storage.set_trial_user_attr(trial_id, WORKER, this_process())
        self.study._storage.set_trial_user_attr(trial_id, LEASE_EXPIRES, lease())

    def _new(self, attributes: Mapping[str, Any]) -> Trial | None:
        """Makes a trial that runs, its lease included, in one transaction; gives it back where others were first."""
        held = {**attributes, WORKER: this_process(), LEASE_EXPIRES: lease()}
        template = create_trial(state=TrialState.RUNNING, user_attrs=held)
        trial_id = self.study._storage.create_new_trial(self.study._study_id, template_trial=template)
        trials = self.study.get_trials(deepcopy=False)
        [mine] = [trial for trial in trials if trial._trial_id == trial_id]
        if self._has_place(mine, trials):
            return self._held(trial_id, mine.number)
        withdraw(self.study, trial_id, "another process took the last place first")
        return None

    def _held(self, trial_id: int, number: int) -> Trial:
        self._leases.hold(trial_id)
        self._prepare(number)
        self.study._thread_local.cached_all_trials = None  # as Study.ask does: samplers read the trials afresh
        return Trial(self.study, trial_id)
