"""Points that were tried before: a run that the study has had already is not run again, unless that is asked for.

Two trials are the same run if they have the same parameters, the same fixed overrides and the same config. A config in
which a seed is null draws another seed for each run, so none of its runs is the same as another one.

What becomes of a trial whose run the study has had is decided by ``hydra.sweeper.tried_points``:

``take_value``    it ends as the earlier trial did: complete with its values, or pruned
``draw_another``  it is withdrawn, and another trial asks the sampler; after ``REDRAWS`` in a row it takes the value
``run_again``     it is run, as hydra-optuna-sweeper does

A run that another process has just begun has no value yet, so another trial asks the sampler, and after ``REDRAWS`` of
these the run is done twice. A failed trial says nothing of its point, so the point is run. So are retries.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from optuna.pruners import NopPruner
from optuna.trial import FrozenTrial, Trial, TrialState

from mdaf.sweeper.storage.optuna_internals import trial_id_of
from mdaf.sweeper.trials.trials import Trials
from mdaf.sweeper.trials.user_attrs import OVERRIDES, RETRY_OF, RUN_CONFIG

log = logging.getLogger(__name__)

TAKE_VALUE, DRAW_ANOTHER, RUN_AGAIN = CHOICES = ("take_value", "draw_another", "run_again")
REDRAWS = 20  # trials in a row that are withdrawn because their run is no new one


class TriedPoints:
    """Decides for each trial of a sweep, once it has its parameters, whether it is run."""

    def __init__(self, trials: Trials, choice: str) -> None:
        self.trials = trials
        self.choice = choice
        self._redrawn = 0

    def need_no_job(self, trial: Trial) -> bool:
        """Whether a trial's run was done before. Such a trial has ended when this returns."""
        if self.choice == RUN_AGAIN or not trial.params:
            return False
        seen = self.trials.seen()
        stored = next(other for other in reversed(seen) if trial_id_of(other) == trial_id_of(trial))
        if RETRY_OF in stored.user_attrs or (run := _run_of(stored)) is None:
            return False
        others = [other for other in seen if other.params == stored.params and other.number != stored.number]
        same = [other for other in others if _run_of(other) == run]
        if self._is_settled(trial, stored, self._ended(same), same):
            return True
        self._redrawn = 0
        return False

    def _is_settled(
        self, trial: Trial, stored: FrozenTrial, ended: FrozenTrial | None, same: Sequence[FrozenTrial]
    ) -> bool:
        running = next((other for other in same if other.state is TrialState.RUNNING), None)
        # An enqueued point is asked for by itself: it is tried, and another one is no substitute.
        may_redraw = not stored.system_attrs.get("fixed_params") and self._redrawn < REDRAWS
        if ended is not None and not (self.choice == DRAW_ANOTHER and may_redraw):
            self._redrawn = 0
            self.trials.take_value(trial, ended)
            return True
        earlier = ended or running
        if earlier is None or not may_redraw:
            return False
        self._redrawn += 1
        self.trials.withdraw(trial, f"trial {earlier.number} has the same point, so another one is drawn")
        return True

    def _ended(self, same: Sequence[FrozenTrial]) -> FrozenTrial | None:
        """The first of these trials that has a value; a pruned one if there is no other, and if a pruner is asked."""
        states = [TrialState.COMPLETE]
        if not isinstance(self.trials.study.pruner, NopPruner):
            states.append(TrialState.PRUNED)
        return next((other for state in states for other in same if other.state is state), None)


def _run_of(trial: FrozenTrial) -> tuple[Any, ...] | None:
    """What a trial's run depends on besides its parameters; None if its runs differ by chance."""
    config, overrides = trial.user_attrs.get(RUN_CONFIG), trial.user_attrs.get(OVERRIDES)
    return None if config is None or overrides is None else (config, *sorted(overrides))
