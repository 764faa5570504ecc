"""How Phase 4 decides between the winner and the balanced point."""

from __future__ import annotations

import itertools
import math

import numpy as np
from scipy import stats

from benchmarks.racing.naming import Named
from benchmarks.racing.world import BALANCED, Cell, Params, World
from benchmarks.surrogates.bowls import KNOWN_POINTS
from mdaf.multirun.analysis.looks.decision import LookPlan, make_looks
from mdaf.multirun.analysis.statistics import holm
from mdaf.sweeper.trials.points.same_point import point_id

ALPHA = 0.05
REPEATED = 5  # seeds of each point, of the design of 0.2
PHASE_4 = range(3001, 3011)


def decided_by_looks(world: World, named: Named, plan: LookPlan) -> tuple[Params, bool]:
    """The winner against the balanced point on test rows: the point that was compared, and whether it is better."""
    point = named.second if point_id(named.winner) == point_id(BALANCED) else named.winner
    by_seed: dict[int, float] = {}
    for pairs in plan.looks:
        for seed in PHASE_4[len(by_seed) : pairs]:
            by_seed[seed] = world.run(point, seed, "test") - world.run(BALANCED, seed, "test")
        seeds = [list(PHASE_4[:n]) for n in plan.looks if n <= pairs]
        last = make_looks(by_seed, seeds, plan, lambda _: users_error(world.cell))[-1]
        if last.stop is not None:
            return point, last.verdict == "better"
    return point, False


def decided_among_four(world: World, named: Named) -> tuple[Params, bool]:
    """The rule before looks: winner and known points on five seeds, six comparisons under Holm, on validation rows.

    It had two conditions: the paired t-test over seeds, and that the 95 % interval over resampled users lies on the
    same side of zero.
    """
    entrants = {point_id(point): point for point in [named.winner, *KNOWN_POINTS]}
    values = {key: {seed: world.run(point, seed) for seed in PHASE_4[:REPEATED]} for key, point in entrants.items()}
    pairs = list(itertools.combinations(entrants, 2))
    differences = {
        (a, b): np.array([values[a][seed] - values[b][seed] for seed in PHASE_4[:REPEATED]]) for a, b in pairs
    }
    adjusted = holm([float(stats.ttest_1samp(one, 0.0).pvalue) for one in differences.values()])
    question = (point_id(named.winner), point_id(BALANCED))
    for pair, p in zip(pairs, adjusted, strict=True):
        if pair == question:
            mean, users = float(differences[pair].mean()), float(stats.norm.ppf(0.975)) * users_error(world.cell)
            return named.winner, p is not None and p < ALPHA and mean > users
    return named.winner, False  # the winner is the balanced point itself


def users_error(cell: Cell) -> float:
    """What resampling users would give: the standard error of what rows do to a difference of two configurations."""
    return math.sqrt(2) * cell.rows * cell.noise
