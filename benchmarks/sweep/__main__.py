"""Overhead beyond training, per trial: ``python -m benchmarks.sweep``. Prints Markdown for docs/benchmarks.md.

The same objective, which costs nothing, the same sampler and SQLite in one run: Optuna alone, hydra-optuna-sweeper,
this project's sweeper with the same job, and with a job that knows its trial and records what the project's own does.
A trial's time is that from the beginning of its job to the beginning of the next one. Each variant is a process of its
own. The variants run in turn, several times over. The start of a process is not measured.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from benchmarks.sweep.variants import VARIANTS, trial_times

STARTUP = 10  # trials before the sampler has a model


def main() -> None:
    """Runs the variants in turn and prints one table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sweep", description=__doc__)
    parser.add_argument("--trials", type=int, default=60, help="of a sweep")
    parser.add_argument("--rounds", type=int, default=5, help="sweeps of each variant")
    parser.add_argument("--folder", type=Path, default=None, help="where the databases lie; default: the temporary one")
    parser.add_argument("--light", action="store_true", help="as in an environment with the light install alone")
    options = parser.parse_args()
    times: dict[str, list[np.ndarray]] = {variant: [] for variant in VARIANTS}
    for _ in range(options.rounds):
        for variant, sweeps in times.items():
            sweeps.append(trial_times(variant, options.trials, options.folder, light=options.light))
    print(table(times))


def table(times: dict[str, list[np.ndarray]]) -> str:
    """Markdown: milliseconds a trial; a sweep's figure is the median over its trials with a model."""
    sweeps = len(next(iter(times.values())))
    lines = [f"| ms a trial, {sweeps} sweeps each | by the clock | least to greatest | last ten trials | processor |"]
    lines.append("|---|---:|---:|---:|---:|")
    for variant, found in times.items():
        clock, work = (1e3 * np.array([np.median(one[STARTUP:, kind]) for one in found]) for kind in (0, 1))
        last = 1e3 * np.median([np.median(one[-10:, 0]) for one in found])
        span = f"{min(clock):.0f} to {max(clock):.0f}"
        lines.append(f"| {variant} | {np.median(clock):.0f} | {span} | {last:.0f} | {np.median(work):.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
