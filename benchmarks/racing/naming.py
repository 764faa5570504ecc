"""How a winner is named after a search, and what is said of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from optuna.trial import FrozenTrial

from benchmarks.racing.searches import trial_of
from benchmarks.racing.world import BALANCED, Params, World
from benchmarks.surrogates.bowls import unit
from mdaf.multirun.analysis.confirmation import choose
from mdaf.sweeper.racing.points import points
from mdaf.sweeper.trials.points.same_point import point_id

TOP, CONFIRMED = 3, 3  # of the design of 0.2: candidates, and seeds of each
CONFIRMATION = range(1001, 1001 + CONFIRMED)


class Named(NamedTuple):
    """The winner, the next one, and what is said of the winner when it is named."""

    winner: Params
    second: Params
    claim: float


def by_posterior_mean(trials: Sequence[FrozenTrial]) -> Named:
    """The point with the best posterior mean over all runs."""
    first, second, *_ = points(trials, maximize=True)
    return Named(first.params, second.params, first.posterior_mean)


def by_incumbent(world: World, found: Sequence[Params]) -> Named:
    """What SMAC names. It gives no value that could be compared with the truth."""
    return Named(found[0], found[1], math.nan)


def confirmed_runs(world: World, trials: Sequence[FrozenTrial]) -> dict[str, tuple[Params, list[float]]]:
    """The best trials and the balanced point on fresh seeds: id -> point and values."""
    best = sorted(trials, key=lambda trial: -trial.values[0])[:TOP]
    candidates = {point_id(point): point for point in [*(trial.params for trial in best), BALANCED]}
    return {key: (point, [world.run(point, seed) for seed in CONFIRMATION]) for key, point in candidates.items()}


def by_confirmed_mean(world: World, trials: Sequence[FrozenTrial]) -> Named:
    """The rule of 0.2: of those tied within noise the nearest to the balanced point."""
    found = list(confirmed_runs(world, trials).values())
    values = np.array([values for _, values in found])
    means = values.mean(axis=1)
    distances = [float(np.linalg.norm(unit(dict(point)) - unit(BALANCED))) for point, _ in found]
    at = choose(list(means), distances, math.sqrt(2 * float(values.var(axis=1, ddof=1).mean()) / CONFIRMED))
    order = [at, *(one for one in np.argsort(-means) if one != at)]
    return Named(found[at][0], found[order[1]][0], float(means[at]))


def with_confirmation(world: World, trials: Sequence[FrozenTrial]) -> Named:
    """The same runs, and the point with the best posterior mean over all of them."""
    every = list(trials)
    for point, values in confirmed_runs(world, trials).values():
        every += [trial_of(len(every) + k, point, seed, values[k]) for k, seed in enumerate(CONFIRMATION)]
    return by_posterior_mean(every)
