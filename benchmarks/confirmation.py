"""What naming a sweep's best trial at face value costs: ``python -m benchmarks.confirmation``. Markdown for
docs/statistics.md.

A repetition is one sweep on the surrogate of ``benchmarks.surrogates.bowls``: the three known points, then points drawn
uniformly, each with the noise of one seed. Three ways to name a winner are compared: the highest value as it is; the
highest mean of the best ``TOP`` trials and the balanced point on ``SEEDS`` fresh seeds; and the project's rule, which
among those tied within noise takes the one nearest to the balanced point
(``mdaf.multirun.analysis.confirmation.choose``).
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.surrogates.bowls import BEST, CURVATURE, FITTED_OPTIMUM, KNOWN_POINTS, MARGIN, unit
from mdaf.multirun.analysis.confirmation import choose
from mdaf.streams import stream_seed

TOP, SEEDS = 3, 3  # conf/phase4.yaml's
NOISES = {"user_behavior": 0.0010, "two and a half times that": 0.0025, "the research's two seeds": 0.0047}
TRIALS = (6, 12, 20, 30, 60, 100)
BALANCED = 1  # its index among the known points


@dataclass(frozen=True)
class Outcome:
    """Means over repetitions, in AUC. ``claim``: what is said of the winner less what it is truly worth.

    ``regret``  best true value of the box less the winner's; ``regret_error`` its standard error.
    ``worse``   share of sweeps whose winner is truly worse than the balanced point, which was there before any sweep.
    """

    claim: float
    regret: float
    regret_error: float
    worse: float


def simulate(trials: int, sd: float, repetitions: int, where: str) -> dict[str, Outcome]:
    """Each way of naming the winner over the same sweeps; ``where`` the optimum lies: ``fitted`` or ``inside``."""
    rng = np.random.default_rng(stream_seed(0, "confirmation", where, str(trials), str(sd)))
    shape = (repetitions, trials)
    known = np.stack([unit(point) for point in KNOWN_POINTS])
    points = rng.uniform(size=(*shape, 3))
    points[:, : len(known)] = known
    optimum = _optima(rng, repetitions, where)
    true = BEST - (CURVATURE * (points - optimum[:, None]) ** 2).sum(axis=2)
    best = BEST - (CURVATURE * (np.clip(optimum, 0, 1) - optimum) ** 2).sum(axis=1)
    seen = true + sd * rng.standard_normal(shape)
    fresh = sd * rng.standard_normal((*shape, SEEDS))
    distances = np.linalg.norm(points - known[BALANCED], axis=2)
    found: dict[str, list[tuple[int, float]]] = {
        "face value": [],
        "confirmed mean": [],
        "confirmed, ties to balanced": [],
    }
    for n in range(repetitions):
        order = np.argsort(-seen[n])
        candidates = list(dict.fromkeys([*order[:TOP], BALANCED]))
        values = true[n, candidates, None] + fresh[n, candidates]
        means = list(values.mean(axis=1))
        noise = math.sqrt(2 * float(values.var(axis=1, ddof=1).mean()) / SEEDS)
        highest = int(np.argmax(means))
        chosen = choose(means, list(distances[n, candidates]), noise)
        found["face value"].append((int(order[0]), float(seen[n, order[0]])))
        for name, winner in (("confirmed mean", highest), ("confirmed, ties to balanced", chosen)):
            found[name].append((int(candidates[winner]), float(means[winner])))
    return {name: _outcome(winners, true, best) for name, winners in found.items()}


def _optima(rng: np.random.Generator, repetitions: int, where: str) -> np.ndarray:
    """(repetition, parameter) coordinates of the optimum in the box."""
    if where == "fitted":
        return np.broadcast_to(FITTED_OPTIMUM, (repetitions, 3))
    return rng.uniform(MARGIN, 1 - MARGIN, (repetitions, 3))


def _outcome(winners: Sequence[tuple[int, float]], true: np.ndarray, best: np.ndarray) -> Outcome:
    chosen = np.array([trial for trial, _ in winners])
    said = np.array([value for _, value in winners])
    worth = true[np.arange(len(chosen)), chosen]
    regret = best - worth
    return Outcome(
        claim=float((said - worth).mean()),
        regret=float(regret.mean()),
        regret_error=float(regret.std(ddof=1) / math.sqrt(len(regret))),
        worse=float((worth < true[:, BALANCED]).mean()),
    )


def table(title: str, found: dict[str, Outcome]) -> str:
    """Markdown, in 1e-4 of AUC."""
    lines = [f"### {title}\n", "| winner by | claimed too much | true AUC lost | truly worse than balanced |"]
    lines.append("|---|---:|---:|---:|")
    for name, one in found.items():
        lost = f"{1e4 * one.regret:.1f} ± {1e4 * one.regret_error:.1f}"
        lines.append(f"| {name} | {1e4 * one.claim:+.1f} | {lost} | {100 * one.worse:.0f} % |")
    return "\n".join(lines) + "\n"


def plot(found: dict[str, dict[int, dict[str, Outcome]]], file: Path) -> None:
    """Claim and regret against the number of trials, a column a noise."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "confirmation"
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(2, len(found), figsize=(11, 6.5), sharex=True, layout="constrained")
    for column, (title, by_trials) in enumerate(found.items()):
        for row, kind in enumerate(("claim", "regret")):
            panel = panels[row][column]
            for name in next(iter(by_trials.values())):
                panel.plot(
                    list(by_trials),
                    [1e4 * getattr(one[name], kind) for one in by_trials.values()],
                    "o-",
                    label=name,
                    ms=4,
                )
            panel.set_xscale("log")
            panel.set_xticks(list(by_trials), [str(trials) for trials in by_trials])
            panel.minorticks_off()
            panel.grid(alpha=0.3)
            panel.spines[["top", "right"]].set_visible(False)
            panel.set_ylim(bottom=min(0, panel.get_ylim()[0]))
        panels[0][column].set_title(title)
    panels[0][0].set_ylabel("claimed too much, 1e-4")
    panels[1][0].set_ylabel("true AUC lost, 1e-4")
    figure.supxlabel("trials of the sweep")
    panels[1][0].legend(frameon=False, loc="lower left")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, metadata={"Date": None})


def main() -> None:
    """Prints a table for each noise and each kind of optimum, and draws them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.confirmation", description=__doc__)
    parser.add_argument("--repetitions", type=int, default=4000)
    parser.add_argument("--trials", type=int, default=20, help="of the sweeps in the tables")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw both against trials; needs matplotlib")
    options = parser.parse_args()
    for where in ("fitted", "inside"):
        for log, sd in NOISES.items():
            title = f"optimum {where}, noise {sd:.4f} ({log}), {options.trials} trials"
            print(table(title, simulate(options.trials, sd, options.repetitions, where)), flush=True)
    if options.plot:
        drawn = {
            f"noise {sd:.4f}\n({log})": {n: simulate(n, sd, options.repetitions, "inside") for n in TRIALS}
            for log, sd in NOISES.items()
        }
        plot(drawn, options.plot)


if __name__ == "__main__":
    main()
