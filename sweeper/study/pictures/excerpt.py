"""A part of a large study, to be drawn: what matters, and of the rest as much as a page may hold."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from mdaf.sweeper.storage.late_reads import attribute
from mdaf.sweeper.study.part import Part
from mdaf.sweeper.study.queries import trials_of
from mdaf.sweeper.study.winners import raced_points, ranked
from mdaf.sweeper.trials.feasibility import is_feasible
from mdaf.sweeper.trials.user_attrs import POINT

DRAWN = (TrialState.COMPLETE, TrialState.PRUNED)
Item = TypeVar("Item")
MOST_CURVES = 200  # learning curves
MOST_EPOCHS = 100  # of a learning curve
MOST_POINTS = 100  # of a race, in the figure of its best points
MOST_LINES = 300  # parallel coordinates
MOST_KNOWN = 100  # more are the points of a grid, which gives each of its trials the name of a known point
MOST_OF_A_FRONT = 2000


def thinned(study: Study, most: int, *, strictly: bool = False) -> Part:
    """``most`` of the complete and pruned trials, by number.

    The best trial or the Pareto front and the known points are among them, even if these are more than ``most``, unless
    ``strictly`` so. A quarter each are of those that improved the best value and of the best ones. The others lie
    evenly between the first and the last.
    """
    trials, points = trials_of(study, *DRAWN), raced_points(study)
    if len(trials) <= most:
        return Part(study, trials, points)
    best = ranked(study, points)
    always = best_ones(study, best) + known_ones(trials)
    kept = {trial.number: trial for trial in (evenly(always, most) if strictly else always)}
    for some in (list(improving(study, trials)), best):
        kept |= {trial.number: trial for trial in evenly(some, min(most // 4, most - len(kept)))}
    others = [trial for trial in trials if trial.number not in kept]
    kept |= {trial.number: trial for trial in evenly(others, most - len(kept))}
    return Part(study, [kept[number] for number in sorted(kept)], points)


def best_ones(study: Study, best: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Of ranked trials the best one; of several objectives the Pareto front, or so many of it as can be drawn."""
    return list(best[:1]) if len(study.directions) == 1 else evenly(best, MOST_OF_A_FRONT)


def known_ones(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The trials of known points; none if they are those of a grid."""
    named = [trial for trial in trials if attribute(trial, POINT)]
    return named if len(named) <= MOST_KNOWN else []


def evenly(items: Sequence[Item], most: int) -> list[Item]:
    """At most ``most`` of the items, evenly, the first and the last among them; none if it is not above zero."""
    if len(items) <= most:
        return list(items)
    step = (len(items) - 1) / max(1, most - 1)
    return [items[round(number * step)] for number in range(most)]


def renamed(study: Study, names: Mapping[str, str]) -> Part:
    """The complete trials with only the parameters in ``names``, under new names, and without attributes."""
    trials = []
    for trial in trials_of(study, TrialState.COMPLETE):
        one = copy.copy(trial)
        one.params = {names[name]: value for name, value in trial.params.items() if name in names}
        one.distributions = {names[name]: kind for name, kind in trial.distributions.items() if name in names}
        one.user_attrs = {}
        trials.append(one)
    return Part(study, trials)


def improving(study: Study, trials: Sequence[FrozenTrial]) -> Iterator[FrozenTrial]:
    """The trials of a single objective that were the best one when they came."""
    if len(study.directions) > 1:
        return
    sign, best = (1 if study.direction is StudyDirection.MAXIMIZE else -1), None
    for trial in trials:
        if trial.state is TrialState.COMPLETE and is_feasible(trial):
            value = sign * trial.values[0]
            if best is None or value > best:
                best = value
                yield trial
