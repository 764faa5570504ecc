"""The ways to decide a sweep that are compared, and one repetition of each: a search, a naming, and Phase 4."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial

from benchmarks.racing.deciding import ALPHA, decided_among_four, decided_by_looks
from benchmarks.racing.naming import Named, by_confirmed_mean, by_incumbent, by_posterior_mean, with_confirmation
from benchmarks.racing.searches import raced, searched_by_smac, searched_by_tpe
from benchmarks.racing.world import BALANCED, Cell, Outcome, Params, World
from benchmarks.surrogates.landscapes import LANDSCAPES
from mdaf.multirun.analysis.looks.decision import LookPlan
from mdaf.streams import stream_seed

LOOKS = LookPlan((4, 6, 8, 10), ALPHA)
TEN = LookPlan((10,), ALPHA, futility=None)


@dataclass(frozen=True)
class Design:
    """A way to decide: a search, the naming of a winner, and Phase 4."""

    search: Callable[[World, int], list[Any]]
    name: Callable[[World, list[Any]], Named]
    decide: Callable[[World, Named], tuple[Params, bool]]


def _of_all_runs(world: World, trials: list[FrozenTrial]) -> Named:
    return by_posterior_mean(trials)


def _by(plan: LookPlan) -> Callable[[World, Named], tuple[Params, bool]]:
    return partial(decided_by_looks, plan=plan)


DESIGNS = {
    "0.2: TPE 20, confirmation, four points on 5 seeds": Design(searched_by_tpe, by_confirmed_mean, decided_among_four),
    "the same runs, posterior mean, 10 pairs": Design(searched_by_tpe, with_confirmation, _by(TEN)),
    "TPE 20, posterior mean, looks": Design(searched_by_tpe, _of_all_runs, _by(LOOKS)),
    "racing 32, 10 pairs": Design(partial(raced, runs=32), _of_all_runs, _by(TEN)),
    "racing 16, looks": Design(partial(raced, runs=16), _of_all_runs, _by(LOOKS)),
    "racing 16 in fours, looks": Design(partial(raced, runs=16, together=4), _of_all_runs, _by(LOOKS)),
}
# Only with --smac: it needs an environment of its own.
OF_SMAC = {
    "SMAC3 16, its incumbent, looks": Design(partial(searched_by_smac, runs=16), by_incumbent, _by(LOOKS)),
    "SMAC3 32, its incumbent, 10 pairs": Design(partial(searched_by_smac, runs=32), by_incumbent, _by(TEN)),
}
EVERY = {**DESIGNS, **OF_SMAC}


def repetition(cell: Cell, design: str, number: int) -> Outcome:
    """One repetition. All designs have the same landscape in it."""
    landscape = LANDSCAPES[cell.landscape](np.random.default_rng(stream_seed(number, "landscape", cell.landscape)))
    stream = stream_seed(number, "racing", design, *map(str, cell))
    world, chosen = World(cell, landscape, np.random.default_rng(stream)), EVERY[design]
    named = chosen.name(world, chosen.search(world, stream % 2**32))
    point, better = chosen.decide(world, named)
    truly = world.truth(point) > world.truth(BALANCED)
    truth = world.truth(named.winner)
    return Outcome(world.runs, -truth, named.claim - truth, better and truly, better and not truly)


def quiet() -> None:
    """What a process of the pool does first."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
