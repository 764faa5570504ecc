"""What a way to decide a sweep costs and finds: ``python -m benchmarks.racing``. Markdown for docs/statistics.md.

A repetition is a search on a landscape (``benchmarks.landscapes``), the naming of a winner, and Phase 4. Sampler,
naming and verdict are the project's own functions. A run is its true value and noise. A part of the noise may be common
to all runs of one seed. Rows may favour a configuration; other rows, such as the test split, favour others.

``runs``      that were spent, Phase 4 included.
``regret``    how much worse the named winner truly is than the best point of the cube.
``optimism``  what is said of the winner when it is named, less what it is truly worth.
``better``    how often the winner is called better than the balanced point and truly is; ``false``: and truly is not.
"""

from __future__ import annotations

import argparse
import itertools
import math
import multiprocessing
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial
from scipy import stats

from benchmarks import smac
from benchmarks.landscapes import BP, LANDSCAPES, Landscape
from benchmarks.surrogate import KNOWN_POINTS, SPACE, unit
from mdaf.multirun.analysis.confirmation import choose
from mdaf.multirun.analysis.looks.decision import LookPlan, make_looks
from mdaf.multirun.analysis.statistics import holm
from mdaf.streams import stream_seed
from mdaf.sweeper.racing.points import points
from mdaf.sweeper.racing.race import Race
from mdaf.sweeper.racing.sampler import RacingSampler
from mdaf.sweeper.search.settings import RACE_SEEDS
from mdaf.sweeper.trials.proposals import Proposal
from mdaf.sweeper.trials.same_point import point_id
from mdaf.sweeper.trials.user_attrs import POINT, POINT_ID, SEED

NAMES = ("weak", "balanced", "strong")
KNOWN = list(zip(NAMES, KNOWN_POINTS, strict=True))
BALANCED = dict(KNOWN)["balanced"]
TRIALS, TOP, CONFIRMED, REPEATED = 20, 3, 3, 5  # of the design of 0.2: trials, candidates, seeds of each, of Phase 4
CONFIRMATION, PHASE_4 = range(1001, 1001 + CONFIRMED), range(3001, 3011)
ALPHA = 0.05
MAIN = ("fitted", "flat")  # landscapes that the claims of docs/statistics.md are about
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
LOOKS = LookPlan((4, 6, 8, 10), ALPHA)
TEN = LookPlan((10,), ALPHA, futility=None)

Params = Mapping[str, Any]


class Cell(NamedTuple):
    """What is simulated: landscape, noise of one run, share of its variance that runs of one seed have in common.

    ``rows``  standard deviation of what rows do to a configuration, in units of the noise.
    """

    landscape: str
    noise: float
    common: float
    rows: float


@dataclass
class World:
    """One repetition's landscape and noise."""

    cell: Cell
    landscape: Landscape
    rng: np.random.Generator
    seeds: dict[int, float] = field(default_factory=dict)
    rows: dict[tuple[str, str], float] = field(default_factory=dict)
    runs: int = 0

    def truth(self, point: Params) -> float:
        """What a point is truly worth; 0 is the best."""
        return -self.landscape.regret(unit(dict(point)))

    def run(self, point: Params, seed: int, split: str = "validation") -> float:
        """The value of a new run."""
        self.runs += 1
        noise, common, rows = self.cell.noise, self.cell.common, self.cell.rows
        of_seed = self.seeds.setdefault(seed, float(self.rng.standard_normal()))
        key = (split, point_id(point))
        of_rows = self.rows.setdefault(key, float(self.rng.standard_normal())) if rows else 0.0
        own = math.sqrt(common) * of_seed + math.sqrt(1 - common) * float(self.rng.standard_normal())
        return self.truth(point) + noise * (own + rows * of_rows)


class Named(NamedTuple):
    """The winner, the next one, and what is said of the winner when it is named."""

    winner: Params
    second: Params
    claim: float


class Outcome(NamedTuple):
    """What came of one repetition."""

    runs: int
    regret: float
    optimism: float
    better: bool
    false: bool


# ---- searches


def searched_by_tpe(world: World, seed: int) -> list[FrozenTrial]:
    """The known points, then Optuna's TPE, one run each."""
    sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True, multivariate=True)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for point in KNOWN_POINTS:
        study.enqueue_trial(point)
    for _ in range(TRIALS):
        trial = study.ask(SPACE)
        study.tell(trial, world.run(trial.params, RACE_SEEDS[0]))
    return [trial_of(number, trial.params, RACE_SEEDS[0], trial.value) for number, trial in enumerate(study.trials)]


def raced(world: World, seed: int, runs: int, together: int = 1) -> list[FrozenTrial]:
    """A race, with so many runs at a time."""
    race = Race(RacingSampler(RACE_SEEDS, seed=seed), SPACE, known=KNOWN, maximize=True)
    trials: list[FrozenTrial] = []
    while len(trials) < runs:
        proposed: list[Proposal] = []
        while len(proposed) < together and len(trials) + len(proposed) < runs:
            pending = [pending_of(len(trials) + at, one) for at, one in enumerate(proposed)]
            proposed.append(race.propose(len(trials) + len(proposed), [*trials, *pending]))
        for one in proposed:
            trials.append(trial_of(len(trials), one.point, one.seed, world.run(one.point, one.seed), one.name))
    return trials


def trial_of(
    number: int, params: Params, seed: int, value: float | None, name: str | None = None, **kind: Any
) -> FrozenTrial:
    """A run as a study holds it."""
    attributes = {SEED: seed, POINT_ID: point_id(params)} | ({POINT: name} if name is not None else {})
    trial = create_trial(params=dict(params), distributions=SPACE, value=value, user_attrs=attributes, **kind)
    trial.number = number
    return trial


def pending_of(number: int, proposal: Proposal) -> FrozenTrial:
    return trial_of(number, proposal.point, proposal.seed, None, proposal.name, state=TrialState.RUNNING)


def searched_by_smac(world: World, seed: int, runs: int) -> list[Params]:
    """SMAC3's points, its incumbent first: known points, its initial design, random forest and intensifier."""
    return list(smac.searched(world.run, SPACE, KNOWN_POINTS, runs, seed))


# ---- naming


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


# ---- Phase 4


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


# ---- designs


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


def table(cell: Cell, found: Mapping[str, Sequence[Outcome]]) -> str:
    """Markdown, in 1e-4 of AUC and per cent, with standard errors."""
    title = f"{cell.landscape}, noise {cell.noise / BP:g} bp, {100 * cell.common:g} % of it common to a seed"
    title += f", rows {cell.rows:g} of the noise" if cell.rows else ""
    lines = [f"### {title}\n", "| design | runs | regret, bp | optimism, bp | better | false better |"]
    lines.append("|---" + "|---:" * 5 + "|")
    for design, outcomes in found.items():
        columns = np.array(outcomes, dtype=float).T
        runs, regret, optimism, better, false = columns
        numbers = [f"{runs.mean():.1f}", _shown(regret / BP), _shown(optimism / BP), _percent(better), _percent(false)]
        lines.append(f"| {' | '.join([design, *numbers])} |")
    return "\n".join(lines) + "\n"


def _shown(values: np.ndarray) -> str:
    if np.isnan(values).any():
        return "-"
    return f"{values.mean():.1f} ± {values.std(ddof=1) / math.sqrt(len(values)):.1f}"


def _percent(values: np.ndarray) -> str:
    share = values.mean()
    return f"{100 * share:.1f} ± {100 * math.sqrt(share * (1 - share) / len(values)):.1f} %"


def cells(options: argparse.Namespace) -> list[Cell]:
    """The cells of the table; those with row noise on the landscapes that were chosen for it."""
    every = itertools.product(options.landscapes, options.noises, options.common, options.rows)
    return [
        Cell(landscape, noise * BP, common, rows)
        for landscape, noise, common, rows in every
        if not rows or landscape in options.rows_on
    ]


def repetitions_of(cell: Cell, options: argparse.Namespace) -> range:
    """More where the least noise is, on the landscapes that the claims are about."""
    many = cell.landscape in MAIN and cell.noise == min(options.noises) * BP
    return range(options.main_repetitions if many else options.repetitions)


def main() -> None:
    """Prints a table for each cell, and the false "better" of all flat cells together."""
    options = read_options()
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))  # the matrices are small, and every process has its own core
    with multiprocessing.get_context("spawn").Pool(options.jobs, initializer=_quiet) as pool:
        pending = {
            cell: {
                design: pool.map_async(partial(repetition, cell, design), repetitions_of(cell, options), chunksize=2)
                for design in options.designs
            }
            for cell in cells(options)
        }
        found = {}
        for cell, by_design in pending.items():
            found[cell] = {design: outcomes.get() for design, outcomes in by_design.items()}
            print(table(cell, found[cell]), flush=True)
    print(false_on_flat(found))


def read_options() -> argparse.Namespace:
    """What was typed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.racing", description=__doc__)
    parser.add_argument("--repetitions", type=int, default=100)
    parser.add_argument(
        "--main-repetitions", type=int, default=400, help=f"of {' and '.join(MAIN)} at the least of the noises"
    )
    parser.add_argument("--landscapes", nargs="+", choices=LANDSCAPES, default=list(LANDSCAPES))
    parser.add_argument("--noises", type=float, nargs="+", default=[10, 25, 47], metavar="BP", help="of one run")
    parser.add_argument("--common", type=float, nargs="+", default=[0.0, 0.5], help="share of a seed in the noise")
    parser.add_argument("--rows", type=float, nargs="+", default=[0.0], help="what rows do, in units of the noise")
    parser.add_argument("--rows-on", nargs="+", choices=LANDSCAPES, default=list(MAIN), help="landscapes with --rows")
    parser.add_argument("--designs", nargs="+", choices=EVERY, default=list(DESIGNS), metavar="DESIGN")
    parser.add_argument("--smac", metavar="PYTHON", help="an interpreter that has SMAC3; adds its designs")
    parser.add_argument("--jobs", type=int, default=1, help="processes, each with one thread")
    options = parser.parse_args()
    if options.smac:
        os.environ[smac.PYTHON] = options.smac
        options.designs = [*options.designs, *(name for name in OF_SMAC if name not in options.designs)]
    elif asked := [name for name in options.designs if name in OF_SMAC]:
        parser.error(f"{asked[0]}: needs --smac PYTHON, an interpreter of an environment with SMAC3")
    return options


def false_on_flat(found: Mapping[Cell, Mapping[str, Sequence[Outcome]]]) -> str:
    """Markdown: how often each design says "better" where nothing is, over all flat cells, by what rows do."""
    flat = {cell: by_design for cell, by_design in found.items() if cell.landscape == "flat"}
    if not flat:
        return ""
    sizes = sorted({cell.rows for cell in flat})
    groups = {f"rows {size:g}" if size else "no row noise": [size] for size in sizes}
    if len([size for size in sizes if size]) > 1:
        groups["all with row noise"] = [size for size in sizes if size]
    if len(groups) > 1:
        groups["all"] = sizes
    lines = ['### False "better", all flat cells together\n', f"| design | {' | '.join(groups)} |"]
    lines.append("|---" + "|---:" * len(groups) + "|")
    for design in next(iter(flat.values())):
        columns = [
            np.array([one.false for cell in flat if cell.rows in group for one in flat[cell][design]], dtype=float)
            for group in groups.values()
        ]
        lines.append(f"| {design} | {' | '.join(f'{_percent(column)} of {len(column)}' for column in columns)} |")
    return "\n".join(lines)


def _quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


if __name__ == "__main__":
    main()
