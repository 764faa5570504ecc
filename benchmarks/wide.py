"""What the wide sweep brings over the narrow one: ``python -m benchmarks.wide data=... data.path=FILE``.

Both sweeps, ``hydra/sweeper=regularization`` and ``regularization_wide``, are run with the same number of trials, each
as often as there are ``--searches``, with another seed each time. Phase 4 confirms each sweep's best trials and repeats
its winner over ``--seeds``. The two winners of a search seed are compared in pairs of a seed, on validation rows and on
test rows.

What is finished is not repeated: the same command goes on. Prints Markdown for docs/results.md.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

from scipy.stats import t

SWEEPS = ("regularization", "regularization_wide")
KEYS = (
    "regularization.dropout",
    "regularization.weight_decay",
    "regularization.label_smoothing",
    "regularization.embedding_l2",
    "training.learning_rate",
)


@dataclass(frozen=True)
class Winner:
    """The winner of one sweep over the seeds of Phase 4.

    ``point``       each of ``KEYS``, None if the sweep did not set it.
    ``found``       the highest value of the sweep, of one seed.
    ``validation``  seed -> AUC at the best epoch; ``test`` likewise.
    """

    name: str
    found: float
    point: dict[str, float | None]
    validation: dict[int, float]
    test: dict[int, float]


def main() -> None:
    """Runs what is missing and prints the tables."""
    options = _parser().parse_args()
    cells = [(sweep, search) for search in options.searches for sweep in SWEEPS]
    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(lambda cell: run(options, *cell), cells))
    winners = {cell: read_winner(_folder(options, *cell) / "phase4") for cell in cells}
    print("\n".join(tables(winners, options.searches)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.wide", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("overrides", nargs="*", help="of every run, say data=movielens data.path=ml-100k.inter")
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--batch", type=int, default=5, help="trials at a time, in lock-step on CUDA")
    parser.add_argument("--searches", type=int, nargs="+", default=[7, 8, 9], help="seeds of the sweeps")
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 123, 456, 789, 2024], help="of Phase 4")
    parser.add_argument("--jobs", type=int, default=1, help="sweeps beside each other")
    parser.add_argument("--folder", type=Path, default=Path("runs/wide"))
    return parser


def _folder(options: argparse.Namespace, sweep: str, search: int) -> Path:
    folder: Path = options.folder / f"{sweep}-{search}"
    return folder


def run(options: argparse.Namespace, sweep: str, search: int) -> None:
    """One sweep and its Phase 4. RuntimeError with what it said last if one of the commands fails."""
    folder = _folder(options, sweep, search)
    if next((folder / "phase4").rglob("report.json"), None):
        return
    storage, study = f"sqlite:///{folder}/studies.db", f"{sweep}-{search}"
    folder.mkdir(parents=True, exist_ok=True)
    _command(
        options, "sweeper", "-m", *options.overrides, f"hydra/sweeper={sweep}", f"seed={search}",
        f"hydra.sweep.dir={folder}/sweep", f"sweep.storage={storage}", f"hydra.sweeper.study_name={study}",
        f"hydra.sweeper.n_trials={options.trials}", f"hydra.sweeper.n_jobs={options.batch}",
    )  # fmt: skip
    _command(
        options, "multirun", f"study={study}", f"storage={storage}", f"folder={folder}/phase4", f"reuse={folder}",
        "points=[winner,balanced]", f"seeds=[{','.join(map(str, options.seeds))}]",
        f"overrides=[{','.join(map(repr, options.overrides))}]", "--yes",
    )  # fmt: skip


def _command(options: argparse.Namespace, module: str, *arguments: str) -> None:
    begun = time.monotonic()
    command = [sys.executable, "-m", module, *arguments]
    cores = str(max(1, (os.cpu_count() or 1) // options.jobs))
    end = subprocess.run(command, capture_output=True, text=True, env={"OMP_NUM_THREADS": cores} | os.environ)
    if end.returncode:
        raise RuntimeError(f"{shlex.join(command)}\n{end.stdout[-2000:]}\n{end.stderr[-2000:]}")
    print(f"{arguments[-1 if module == 'sweeper' else 0]} {module} {time.monotonic() - begun:.0f} s", file=sys.stderr)


def read_winner(folder: Path) -> Winner:
    """The winner of the report below ``folder``."""
    report = json.loads(next(folder.rglob("report.json")).read_text())
    inputs, figures = report["inputs"], report["figures"]
    of_runs = {
        source["seed"]: figures["runs"][source["id"]]
        for source in inputs["runs"]
        if source["stage"] == "phase 4" and source["point"] == inputs["winner"]
    }
    point = next(point for point in inputs["points"] if point["name"] == inputs["winner"])
    values = dict(override.split("=", 1) for override in point["overrides"]) | point["values"]
    return Winner(
        name=inputs["winner"],
        found=max(found["value"] for found in figures["search"]),
        point={key: float(values[key]) if key in values else None for key in KEYS},
        validation={seed: run["best"]["val_auc"] for seed, run in of_runs.items()},
        test={seed: run["test_auc"] for seed, run in of_runs.items()},
    )


def tables(winners: dict[tuple[str, int], Winner], searches: list[int]) -> Iterator[str]:
    """One table of the winners, and one of the differences between the two of a search seed."""
    names = ", ".join(key.rpartition(".")[2] for key in KEYS)
    yield f"| search seed | sweep | best value found | winner ({names}) | validation AUC | test AUC |"
    yield "|---:|---|---:|---|---:|---:|"
    for search in searches:
        for sweep in SWEEPS:
            one = winners[sweep, search]
            point = ", ".join("-" if value is None else f"{value:.2g}" for value in one.point.values())
            yield (
                f"| {search} | `{sweep}` | {one.found:.4f} | {one.name}: {point} | {spread(one.validation)} "
                f"| {spread(one.test)} |"
            )
    yield ""
    yield "| search seed | validation AUC, wide less narrow | test AUC, wide less narrow |"
    yield "|---:|---:|---:|"
    for search in searches:
        narrow, wide = (winners[sweep, search] for sweep in SWEEPS)
        yield f"| {search} | {difference(wide.validation, narrow.validation)} | {difference(wide.test, narrow.test)} |"


def spread(values: dict[int, float]) -> str:
    """Mean and standard deviation over seeds."""
    return f"{fmean(values.values()):.4f} ± {stdev(values.values()):.4f}"


def difference(one: dict[int, float], other: dict[int, float]) -> str:
    """The mean paired difference over the seeds that both have, with its 95 % t interval."""
    pairs = [one[seed] - other[seed] for seed in one if seed in other]
    half = float(t.ppf(0.975, len(pairs) - 1)) * stdev(pairs) / len(pairs) ** 0.5
    return f"{fmean(pairs):+.4f} [{fmean(pairs) - half:+.4f}, {fmean(pairs) + half:+.4f}]"


if __name__ == "__main__":
    main()
