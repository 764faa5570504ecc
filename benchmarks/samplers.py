"""Regret of Optuna's samplers against trials: ``python -m benchmarks.samplers``. Markdown for docs/benchmarks.md.

A repetition is one sweep on a surrogate of this project's objective with its real noise: the known points first, then
what the sampler proposes, up to the greatest number of trials; a smaller budget is its beginning. Regret is how much
less the winner is truly worth than the best point of the box. There are three winners: the trial with the highest noisy
value, as a sweep names it (*chosen*); of the five highest the one with the best mean over five fresh seeds, as Phase 4
does (*confirmed*); and the truly best point that was tried (*tried*), whose regret is that of the search alone.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import optuna
from optuna import samplers
from optuna.samplers import BaseSampler

from benchmarks.surrogates import bowls
from benchmarks.surrogates.bowls import Bowl
from mdaf.streams import stream_seed

BUDGETS = (12, 24, 48)
NOISES = (0.0010, 0.0025)
FINALISTS, FRESH_SEEDS = 5, 5  # of a confirmation
REFERENCE = "tpe"  # whose regret the others' is compared with, repetition by repetition
BOWLS: dict[str, Callable[[int], Bowl]] = {
    "user_behavior": lambda _repetition: bowls.fitted(),
    "optimum inside": bowls.inside,
}
SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    "tpe": lambda seed: samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True),
    "tpe, 4 at random": lambda seed: samplers.TPESampler(
        seed=seed, multivariate=True, constant_liar=True, n_startup_trials=4
    ),
    "gp": lambda seed: samplers.GPSampler(seed=seed, deterministic_objective=False),
    "gp, 4 at random": lambda seed: samplers.GPSampler(seed=seed, deterministic_objective=False, n_startup_trials=4),
    "cmaes": lambda seed: samplers.CmaEsSampler(seed=seed),
    "qmc": lambda seed: samplers.QMCSampler(seed=seed, scramble=True),
    "random": lambda seed: samplers.RandomSampler(seed=seed),
}


@dataclass(frozen=True)
class Regrets:
    """Of one sweep, by number of trials (from one): the regret of each kind of winner so far; shapes ``(trials,)``."""

    chosen: np.ndarray
    confirmed: np.ndarray
    tried: np.ndarray
    seconds: float  # that the sampler took for all trials


def sweep(bowl: str, noise: float, sampler: str, repetition: int, trials: int) -> Regrets:
    """One simulated sweep; the bowl and the noise are the same for all samplers of a repetition."""
    objective = BOWLS[bowl](repetition)
    errors = bowls.noise(repetition, trials, noise)
    study = optuna.create_study(
        direction="maximize", sampler=SAMPLERS[sampler](stream_seed(repetition, "sampler") % 2**31)
    )
    for point in bowls.KNOWN_POINTS:
        study.enqueue_trial(point)
    true, seconds = np.empty(trials), 0.0
    for number in range(trials):
        started = time.perf_counter()
        trial = study.ask(bowls.SPACE)
        seconds += time.perf_counter() - started
        true[number] = objective.value(trial.params)
        study.tell(trial, true[number] + errors[number])
    seen = true + errors
    again = true + bowls.noise(repetition, trials, noise / np.sqrt(FRESH_SEEDS), "fresh seeds")
    chosen, confirmed = np.empty(trials, int), np.empty(trials, int)
    for count in range(1, trials + 1):
        best = np.argsort(-seen[:count])[:FINALISTS]
        chosen[count - 1], confirmed[count - 1] = best[0], best[np.argmax(again[best])]
    regret = objective.best - true
    return Regrets(regret[chosen], regret[confirmed], np.minimum.accumulate(regret), seconds)


def main() -> None:
    """Runs every sampler on every surrogate and prints a table for each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.samplers", description=__doc__)
    parser.add_argument("--repetitions", type=int, default=40)
    parser.add_argument("--samplers", nargs="+", choices=SAMPLERS, default=list(SAMPLERS))
    parser.add_argument("--trials", type=int, nargs="+", default=list(BUDGETS), help="budgets to report")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw regret against trials; needs matplotlib")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    options = parser.parse_args()
    runs: dict[str, dict[str, list[Regrets]]] = {}
    with multiprocessing.get_context("spawn").Pool(options.jobs, initializer=_quiet) as pool:
        for bowl, noise in ((bowl, noise) for bowl in BOWLS for noise in NOISES):
            found = {}
            for sampler in options.samplers:
                run = partial(sweep, bowl, noise, sampler, trials=max(options.trials))
                found[sampler] = pool.map(run, range(options.repetitions), chunksize=1)
            title = f"{bowl}, noise {noise:.4f}"
            runs[title] = found
            print(table(f"{title}, {options.repetitions} repetitions", found, options.trials), flush=True)
    every = {name: [one for found in runs.values() for one in found[name]] for name in options.samplers}
    print(table(f"all {len(runs) * options.repetitions} sweeps together", every, options.trials))
    if REFERENCE in every:
        print(differences(every, options.trials))
    if options.plot:
        plot(runs, options.plot)


def table(title: str, found: dict[str, list[Regrets]], budgets: Sequence[int]) -> str:
    """Markdown: mean regret in 1e-4 of AUC by sampler and number of trials; the chosen one's standard error."""
    heads = [f"{budget} trials: chosen | confirmed | tried" for budget in budgets]
    lines = [f"### {title}\n", f"| sampler | {' | '.join(heads)} | s / trial |"]
    lines.append("|---" + "|---:" * (3 * len(budgets) + 1) + "|")
    for sampler, regrets in found.items():
        cells = []
        for budget in budgets:
            confirmed, tried = (_mean(regrets, kind, budget)[0] for kind in ("confirmed", "tried"))
            cells += [_shown(*_mean(regrets, "chosen", budget)), f"{confirmed:.1f}", f"{tried:.1f}"]
        seconds = np.mean([regret.seconds / len(regret.chosen) for regret in regrets])
        lines.append(f"| {sampler} | {' | '.join(cells)} | {seconds:.3f} |")
    return "\n".join(lines) + "\n"


def differences(found: dict[str, list[Regrets]], budgets: Sequence[int]) -> str:
    """Markdown: each sampler's regret less the reference's, in 1e-4, in pairs of the same bowl and the same noise."""
    heads = [f"{budget} trials: chosen | confirmed" for budget in budgets]
    lines = [f"| less {REFERENCE}'s | {' | '.join(heads)} |", "|---" + "|---:" * (2 * len(budgets)) + "|"]
    for sampler in (name for name in found if name != REFERENCE):
        cells = []
        for budget in budgets:
            for kind in ("chosen", "confirmed"):
                pairs = zip(found[sampler], found[REFERENCE], strict=True)
                less = 1e4 * np.array([getattr(a, kind)[budget - 1] - getattr(b, kind)[budget - 1] for a, b in pairs])
                cells.append(_shown(less.mean(), less.std(ddof=1) / np.sqrt(len(less))))
        lines.append(f"| {sampler} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _mean(regrets: Sequence[Regrets], kind: str, budget: int) -> tuple[float, float]:
    """Mean and standard error of a kind of regret, in 1e-4."""
    values = 1e4 * np.array([getattr(regret, kind)[budget - 1] for regret in regrets])
    return values.mean(), values.std(ddof=1) / np.sqrt(len(values))


def _shown(mean: float, error: float) -> str:
    return f"{mean:.1f} ± {error:.1f}"


def plot(runs: dict[str, dict[str, list[Regrets]]], file: Path) -> None:
    """Mean regret of the chosen trial against the number of trials, a panel for each bowl."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(2, 2, figsize=(10, 7), sharex=True, layout="constrained")
    for panel, (title, found) in zip(panels.flat, runs.items(), strict=True):
        for sampler, regrets in found.items():
            mean = 1e4 * np.mean([regret.chosen for regret in regrets], axis=0)
            panel.plot(np.arange(1, len(mean) + 1), mean, label=sampler)
        panel.set_title(title)
        panel.set_ylim(bottom=0)
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
    figure.supxlabel("trials, the three known points among them")
    figure.supylabel("true AUC lost by the chosen trial, 1e-4")
    panels.flat[-1].legend(frameon=False, ncols=2)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, metadata={"Date": None})


def _quiet() -> None:
    """In each process: no line a trial, and one thread for the Gaussian process."""
    import torch

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    torch.set_num_threads(1)


if __name__ == "__main__":
    main()
