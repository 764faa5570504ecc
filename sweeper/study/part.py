"""Some of a study's trials, or all of them without their points, as a study that can only be read."""

from __future__ import annotations

import copy
from collections.abc import Container, Sequence
from typing import TYPE_CHECKING

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

if TYPE_CHECKING:
    from mdaf.sweeper.racing.points import Point


class Part(Study):
    """A study that holds some of another one's trials, under their own numbers.

    ``trials``  the trials; None: all that the other study holds whenever it is asked.
    ``points``  of the other study, if it is a race and its points are asked about, the best first.
    """

    def __init__(self, study: Study, trials: Sequence[FrozenTrial] | None, points: Sequence[Point] = ()) -> None:
        self.__dict__.update(study.__dict__)
        self._part = None if trials is None else list(trials)
        self.points = list(points)

    def get_trials(self, deepcopy: bool = True, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        """The part's trials; ``deepcopy`` is for Optuna's sake."""
        if self._part is None:
            return super().get_trials(deepcopy, states)
        found = [trial for trial in self._part if states is None or trial.state in states]
        return copy.deepcopy(found) if deepcopy else found


def single_runs(study: Study) -> Part:
    """The study as if it were no race: each of its trials stands for itself."""
    return Part(study, None)
