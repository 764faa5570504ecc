"""Allocation: exactly ``n_trials`` trials finish, whatever number of processes ask, fail or are killed.

The trials that count (finished, running or waiting) are ordered by number. A trial may run if fewer than ``n_trials``
count before it. The database gives out numbers one after the other, and a trial that ceased to count never counts
again. So every process that looks comes to the same answer, and none needs a lock.

A failed trial ceases to count where another one replaces it: its retry, or any trial if the sweep replaces failed ones.

Planned points (known ones, a grid) are given to new trials before the sampler is asked, each to one. A race gives every
new trial its point and its seed, each pair to one.
"""

from __future__ import annotations

import bisect
import random
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from mdaf.errors import UserError
from mdaf.processes.identity import this_process
from mdaf.sweeper.storage.late_reads import attribute, holds
from mdaf.sweeper.storage.optuna_internals import add_trial, cache_trials, storage_of, trial_id_of
from mdaf.sweeper.trials.leases import Leases, lease
from mdaf.sweeper.trials.points.proposals import Proposal, Proposer, attributes_of
from mdaf.sweeper.trials.points.same_point import seed_of
from mdaf.sweeper.trials.points.taking import take_free
from mdaf.sweeper.trials.retries import (
    UNFINISHED,
    FailedPoint,
    PointKey,
    Retries,
    draw_of,
    duplicates,
    failed_points,
    key_of_point,
    owed_retries,
    point_of,
)
from mdaf.sweeper.trials.user_attrs import (
    DIED,
    INTERRUPTED,
    LEASE_EXPIRES,
    OVERRIDES,
    POINT,
    RETRY,
    RETRY_OF,
    SEED,
    WITHDRAWN,
    WORKER,
)

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
MOST_NAMED = 5  # points in one line of the log

Planned = Sequence[tuple[str, dict[str, Any]]]  # name and point


def counted(trials: Sequence[FrozenTrial], *, replace_failed: bool = True) -> list[FrozenTrial]:
    """The trials that count towards ``n_trials``, by number: finished, waiting, or running with a lease.

    Failed ones count too where no other trial replaces them. ``trials`` are by number, too.
    """
    superfluous = {trial.number for trial in duplicates(trials)}
    found = [trial for trial in trials if trial.state in FINISHED or _counts(trial, superfluous)]
    if not replace_failed:
        found = sorted(found + failed_for_good(trials), key=lambda trial: trial.number)
    return found


def _counts(trial: FrozenTrial, superfluous: Container[int]) -> bool:
    """Whether an unfinished trial counts."""
    if trial.state is TrialState.FAIL or trial.number in superfluous:
        return False
    return trial.state is TrialState.WAITING or LEASE_EXPIRES in trial.user_attrs


def ended(trials: Sequence[FrozenTrial], *, replace_failed: bool = True) -> int:
    """How many of the trials that count have ended."""
    return sum(trial.state not in UNFINISHED for trial in counted(trials, replace_failed=replace_failed))


def failed_for_good(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The failed trials that no other one tries again, without those that never began or were interrupted."""
    retried = {attribute(trial, RETRY_OF) for trial in trials if not holds(trial, WITHDRAWN)}

    def is_final(trial: FrozenTrial) -> bool:
        said = trial.user_attrs
        if WITHDRAWN in said or RETRY in said or said.get(INTERRUPTED) or trial.number in retried:
            return False
        return DIED not in said or bool(point_of(trial))

    return [trial for trial in trials if trial.state is TrialState.FAIL and is_final(trial)]


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


def listed(what: Sequence[str]) -> str:
    """Names in a line, the first few of many."""
    rest = len(what) - MOST_NAMED
    return ", ".join(what[:MOST_NAMED]) + (f" and {rest} more" if rest > 0 else "")


class Allocation:
    """Hands out trials, each held by this process from its first moment.

    ``prepare``         called with the number of a trial's draw (``draw_of``) before the sampler hears of it
    ``only_planned``    no other points are tried, as in a grid
    ``replace_failed``  another trial runs in place of a failed one
    ``race``            gives each new trial its point and its seed, the planned points too
    """

    def __init__(
        self,
        study: optuna.Study,
        n_trials: float,
        leases: Leases,
        retries: Retries,
        *,
        planned: Planned = (),
        only_planned: bool = False,
        replace_failed: bool = True,
        race: Proposer | None = None,
        prepare: Callable[[int], None] = lambda draw: None,
    ) -> None:
        self.study = study
        self.n_trials = n_trials
        self.planned = self._open = planned
        self.only_planned = only_planned
        self.replace_failed = replace_failed
        self._race = race
        self._leases = leases
        self._retries = retries
        self._prepare = prepare
        self._last: tuple[Sequence[FrozenTrial], list[FrozenTrial]] | None = None

    def claim(self, trials: Sequence[FrozenTrial], attributes: Mapping[str, Any]) -> Trial | None:
        """The next trial, with these user attributes; None while enough trials count.

        ``trials`` is the study as last seen: an old view costs a look more, never a trial too many.
        """
        owed = len(owed_retries(trials))
        if owed and self._retries.enqueue_owed():
            trials = self.study.get_trials(deepcopy=False)
            owed = len(owed_retries(trials))
        stand = self._counted(trials)
        for before, trial in enumerate(stand):
            if trial.state is TrialState.WAITING and before + owed < self.n_trials and self._begin(trial, attributes):
                cache_trials(self.study, None)
                return self._held(trial_id_of(trial), draw_of(trial, trials))
        if len(stand) + owed >= self.n_trials:
            return None
        left = self._left(trials)
        if self.only_planned and len(left) <= _without_point(stand):
            return None
        return self._new(attributes, assign=bool(left))

    def is_over(self, trials: Sequence[FrozenTrial]) -> bool:
        """Whether nothing is left to do, here or in any other process."""
        if sum(trial.state not in UNFINISHED for trial in self._counted(trials)) >= self.n_trials:
            return True
        if not self.only_planned or any(trial.state in UNFINISHED for trial in counted(trials)):
            return False
        return not owed_retries(trials) and not still_planned(self.planned, trials)

    def _counted(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """Those that count; of the trials that were counted last, without counting them again."""
        if self._last is None or self._last[0] is not trials:
            self._last = trials, counted(trials, replace_failed=self.replace_failed)
        return self._last[1]

    def _left(self, trials: Sequence[FrozenTrial]) -> list[tuple[str, dict[str, Any]]]:
        """The planned points that the study has not had. Those of finished trials are not looked for again."""
        if self._open:
            self._open = still_planned(self._open, [trial for trial in trials if trial.state not in UNFINISHED])
        if self._open:
            return still_planned(self._open, [trial for trial in trials if trial.state in UNFINISHED])
        return []

    def _begin(self, trial: FrozenTrial, attributes: Mapping[str, Any]) -> bool:
        """Takes a waiting trial; False if another process did."""
        storage = storage_of(self.study)
        try:
            if LEASE_EXPIRES not in trial.user_attrs:  # enqueued by another program
                storage.set_trial_user_attr(trial_id_of(trial), LEASE_EXPIRES, 0.0)
            if not storage.set_trial_state_values(trial_id_of(trial), TrialState.RUNNING):
                return False
            # Only now: of two that sign before one of them gets it, the loser's name might stay.
            attributes = {**attributes, **self._of_its_run(trial, attributes)}
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
        mine = next(trial for trial in reversed(trials) if trial_id_of(trial) == trial_id)
        before = bisect.bisect_left(self._counted(trials), mine.number, key=lambda trial: trial.number)
        if before + len(owed_retries(trials)) >= self.n_trials:
            self._retries.withdraw(trial_id, "another process took the last place first")
            return None
        self._leases.hold(trial_id)
        if self._race is not None:
            self._enter(self._race, trial_id, draw_of(mine, trials), trials, attributes)
        elif assign and not self._assign(trial_id, trials) and self.only_planned:
            self._retries.withdraw(trial_id, "other processes took the last points first")
            self._leases.release(trial_id)
            return None
        # As Study.ask does, so that samplers see the study as it is now; what was just read is that.
        cache_trials(self.study, trials)
        return self._held(trial_id, draw_of(mine, trials))

    def _assign(self, trial_id: int, trials: Sequence[FrozenTrial]) -> bool:
        """Gives a trial of this process a planned point that no other one has; False if none is left."""
        storage = storage_of(self.study)

        def choose(others: list[FrozenTrial], attempts: int) -> tuple[str, dict[str, Any]] | None:
            left = still_planned(self.planned, others)
            rivals = _without_point(counted(others))
            if not left:
                storage.set_trial_system_attr(trial_id, "fixed_params", {})
                return None
            # The rivals choose at this moment too: numbers decide at first, then chance.
            chosen = left[0] if not rivals else random.choice(left[: rivals + 1])
            storage.set_trial_system_attr(trial_id, "fixed_params", chosen[1])
            return chosen

        taken = take_free(
            self.study, trial_id, trials, choose, lambda chosen, others: bool(still_planned([chosen], others))
        )
        if taken is None:
            return False
        storage.set_trial_user_attr(trial_id, POINT, taken[0])
        return True

    def _enter(
        self, race: Proposer, trial_id: int, draw: int, trials: Sequence[FrozenTrial], attributes: Mapping[str, Any]
    ) -> None:
        """Gives a trial of this process a run that no other one has. UserError if none is left."""
        storage = storage_of(self.study)

        def choose(others: list[FrozenTrial], attempts: int) -> Proposal:
            try:
                found = race.propose(draw, others, max(attempts, _without_point(counted(others))))
            except UserError:
                self._retries.withdraw(trial_id, "no run of the race is left for it")
                self._leases.release(trial_id)
                raise
            for name, value in attributes_of(found, race, attributes).items():
                storage.set_trial_user_attr(trial_id, name, value)
            storage.set_trial_system_attr(trial_id, "fixed_params", found.point)  # last: now the others see the run
            return found

        take_free(self.study, trial_id, trials, choose, race.is_free)

    def _of_its_run(self, trial: FrozenTrial, attributes: Mapping[str, Any]) -> dict[str, Any]:
        """In a race: the attributes of a waiting trial that depend on its seed; without one, its point's next."""
        if self._race is None:
            return {}
        seed = seed_of(trial)
        if seed is None:
            seed = self._race.next_seed(point_of(trial), self.study.get_trials(deepcopy=False))
        return {SEED: seed, OVERRIDES: self._race.with_seed(attributes.get(OVERRIDES, ()), seed)}

    def _held(self, trial_id: int, draw: int) -> Trial:
        self._leases.hold(trial_id)
        self._prepare(draw)
        return Trial(self.study, trial_id)


def _without_point(trials: Sequence[FrozenTrial]) -> int:
    """How many running trials are about to get a point."""
    return sum(trial.state is TrialState.RUNNING and not point_of(trial) for trial in trials)
