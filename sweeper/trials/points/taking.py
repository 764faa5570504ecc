"""How processes that choose at the same moment come to different choices, without a lock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import optuna
from optuna.trial import FrozenTrial

from mdaf.sweeper.storage.optuna_internals import trial_id_of

T = TypeVar("T")


def take_free(
    study: optuna.Study,
    trial_id: int,
    trials: Sequence[FrozenTrial],
    choose: Callable[[list[FrozenTrial], int], T | None],
    is_free: Callable[[T, list[FrozenTrial]], bool],
    held: T | None = None,
) -> T | None:
    """What the trial gets and no other trial of the study has; None where ``choose`` finds nothing.

    A choice is written first and compared with those of the other trials afterwards. Of two processes that write the
    same choice at the same time, each sees the other's, or the later one does. A process that sees its choice on
    another trial chooses again. So no choice is had twice.

    ``trials``   the study as last seen.
    ``choose``   writes a choice on the trial and returns it. It gets the other trials, and how often it was called.
    ``is_free``  whether none of the other trials has a choice.
    ``held``     the choice that stands on the trial already.
    """
    attempts, choice, others = 0, held, _without(trial_id, trials)
    while choice is None or not is_free(choice, others):
        choice = choose(others, attempts)
        if choice is None:
            return None
        others, attempts = _without(trial_id, study.get_trials(deepcopy=False)), attempts + 1
    return choice


def _without(trial_id: int, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    return [trial for trial in trials if trial_id_of(trial) != trial_id]
