"""What a sweep and its Phase 4 spend and find: ``python -m benchmarks.pipelines data=... data.path=FILE``.

A pipeline is a sweep and the Phase 4 after it:

``narrow``  ``hydra/sweeper=regularization``, 30 trials of one seed. The best three are confirmed on other seeds, then
            the winner and balanced are trained on five seeds.
``wide``    the same with ``hydra/sweeper=regularization_wide``.
``racing``  16 runs of ``regularization_wide`` with ``hydra/sweeper/sampler=racing``, and looks at 4, 6, 8 and 10 seeds.
``longer``  a race of 20 runs, and looks at 4 and 6 seeds: more of the same runs go into the search.

Each is run as often as there are ``--searches``, each time with another seed. Winners of one search seed are compared
in pairs of a seed, on validation rows and on test rows. What is finished is not repeated: the same command goes on.
Prints Markdown for docs/results.md and docs/statistics.md.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np

from mdaf.multirun.analysis.statistics import t_interval

KEYS = (
    "regularization.dropout",
    "regularization.weight_decay",
    "regularization.label_smoothing",
    "regularization.embedding_l2",
    "training.learning_rate",
)


@dataclass(frozen=True)
class Pipeline:
    """Arguments of the sweep and of Phase 4, and what the sweep has in trials, so many at a time.

    ``seed``  the key of the sweep's own seed. A race sets the config's ``seed`` itself.
    """

    sweep: tuple[str, ...]
    phase4: tuple[str, ...]
    trials: int
    batch: int
    seed: str = "seed"


_RESEARCH = ("design=research", "points=[winner,balanced]")
PIPELINES = {
    "narrow": Pipeline(("hydra/sweeper=regularization",), _RESEARCH, 30, 5),
    "wide": Pipeline(("hydra/sweeper=regularization_wide",), _RESEARCH, 30, 5),
    "racing": Pipeline(
        ("hydra/sweeper=regularization_wide", "hydra/sweeper/sampler=racing"), (), 16, 4, "hydra.sweeper.sampler.seed"
    ),
    "longer": Pipeline(
        ("hydra/sweeper=regularization_wide", "hydra/sweeper/sampler=racing"),
        ("looks=[4,6]", "futility=4"),
        20,
        4,
        "hydra.sweeper.sampler.seed",
    ),
}


@dataclass(frozen=True)
class Outcome:
    """What a pipeline came to.

    ``winner``      its name; ``point``: each of ``KEYS``, None if neither sweep nor Phase 4 set it.
    ``runs``        that it spent, by stage.
    ``verdict``     of the winner against balanced; None if the winner is balanced.
    ``validation``  point -> seed -> AUC at the best epoch; ``test`` likewise.
    """

    winner: str
    point: dict[str, float | None]
    runs: dict[str, int]
    verdict: str | None
    validation: dict[str, dict[int, float]]
    test: dict[str, dict[int, float]]

    @property
    def deployed(self) -> str:
        """The point to deploy: balanced, unless the verdict is that the winner is better."""
        return self.winner if self.verdict in ("better", None) else "balanced"


def main() -> None:
    """Runs what is missing and prints the tables."""
    options = _parser().parse_args()
    cells = [(name, search) for search in options.searches for name in options.pipelines]
    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(lambda cell: run(options, *cell), cells))
    outcomes = {cell: read_outcome(_folder(options, *cell) / "phase4") for cell in cells}
    print("\n".join(tables(outcomes)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.pipelines", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("overrides", nargs="*", help="of every run, say data=movielens data.path=ml-100k.inter")
    parser.add_argument("--pipelines", nargs="+", default=list(PIPELINES), choices=PIPELINES)
    parser.add_argument("--trials", type=int, help="of each sweep; by default what the pipeline has")
    parser.add_argument("--searches", type=int, nargs="+", default=[7, 8, 9], help="seeds of the sweeps")
    parser.add_argument("--jobs", type=int, default=1, help="pipelines beside each other")
    parser.add_argument("--folder", type=Path, default=Path("runs/pipelines"))
    return parser


def _folder(options: argparse.Namespace, name: str, search: int) -> Path:
    folder: Path = options.folder / f"{name}-{search}"
    return folder


def run(options: argparse.Namespace, name: str, search: int) -> None:
    """One sweep and its Phase 4. RuntimeError with what it said last if one of the commands fails."""
    folder, pipeline = _folder(options, name, search), PIPELINES[name]
    if next((folder / "phase4").rglob("report.json"), None):
        return
    storage, study = f"sqlite:///{folder}/studies.db", f"{name}-{search}"
    folder.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    _command(
        options, "sweeper", "-m", *options.overrides, *pipeline.sweep, f"{pipeline.seed}={search}",
        f"hydra.sweep.dir={folder}/sweep", f"sweep.storage={storage}", f"hydra.sweeper.study_name={study}",
        f"hydra.sweeper.n_trials={options.trials or pipeline.trials}", f"hydra.sweeper.n_jobs={pipeline.batch}",
    )  # fmt: skip
    swept = time.monotonic()
    _command(
        options, "multirun", f"study={study}", f"storage={storage}", f"folder={folder}/phase4", f"reuse={folder}",
        *pipeline.phase4, f"overrides=[{','.join(map(repr, options.overrides))}]", "--yes",
    )  # fmt: skip
    print(
        f"{study}: sweep {swept - begun:.0f} s, Phase 4 {time.monotonic() - swept:.0f} s", file=sys.stderr, flush=True
    )


def _command(options: argparse.Namespace, module: str, *arguments: str) -> None:
    command = [sys.executable, "-m", module, *arguments]
    cores = str(max(1, (os.cpu_count() or 1) // options.jobs))
    end = subprocess.run(command, capture_output=True, text=True, env={"OMP_NUM_THREADS": cores} | os.environ)
    if end.returncode:
        raise RuntimeError(f"{shlex.join(command)}\n{end.stdout[-2000:]}\n{end.stderr[-2000:]}")


def read_outcome(folder: Path) -> Outcome:
    """What the report below ``folder`` says. It may be one of version 0.1."""
    report = json.loads(next(folder.rglob("report.json")).read_text())
    inputs, figures = report["inputs"], report["figures"]
    validation: dict[str, dict[int, float]] = {}
    test: dict[str, dict[int, float]] = {}
    for source in inputs["runs"]:
        if source["stage"] == "phase 4":
            found = figures["runs"][source["id"]]
            validation.setdefault(source["point"], {})[source["seed"]] = found["best"]["val_auc"]
            test.setdefault(source["point"], {})[source["seed"]] = found["test_auc"]
    point = next(point for point in inputs["points"] if point["name"] == inputs["winner"])
    values = dict(override.split("=", 1) for override in point["overrides"]) | point["values"]
    stages = Counter(source["stage"] for source in inputs["runs"] if source["stage"] != "search")
    return Outcome(
        winner=inputs["winner"],
        point={key: float(values[key]) if key in values else None for key in KEYS},
        runs={"search": len(inputs["trials"]), **stages},
        verdict=_verdict(figures),
        validation=validation,
        test=test,
    )


def _verdict(figures: dict[str, Any]) -> str | None:
    """Of the winner against balanced: the decision of the looks, or the one comparison of the research's design."""
    if decision := figures.get("decision"):
        return str(decision["verdict"])
    return next((str(pair["verdict"]) for pair in figures["comparisons"]), None)


def tables(outcomes: dict[tuple[str, int], Outcome]) -> Iterator[str]:
    """One table of what pipelines came to, and one of the differences between winners of the same search seed."""
    names = ", ".join(key.rpartition(".")[2] for key in KEYS)
    head = ("pipeline", "search seed", "runs", f"winner ({names})", *("validation AUC", "test AUC"))
    yield f"| {' | '.join(head)} | against balanced | deployed |"
    yield "|---|---:|---:|---|---:|---:|---|---|"
    for (name, search), one in outcomes.items():
        values = ", ".join("-" if value is None else f"{value:.2g}" for value in one.point.values())
        yield (
            f"| {name} | {search} | {' + '.join(map(str, one.runs.values()))} | {one.winner}: {values} "
            f"| {spread(one.validation[one.winner])} | {spread(one.test[one.winner])} | {one.verdict or ''} "
            f"| {one.deployed} {fmean(one.test[one.deployed].values()):.4f} |"
        )
    yield ""
    yield "| search seed | winner of | less that of | validation AUC | test AUC |"
    yield "|---:|---|---|---:|---:|"
    for search in dict.fromkeys(search for _, search in outcomes):
        for other, later in combinations([name for name, of in outcomes if of == search], 2):
            a, b = outcomes[later, search], outcomes[other, search]
            splits = ((a.validation[a.winner], b.validation[b.winner]), (a.test[a.winner], b.test[b.winner]))
            yield f"| {search} | {later} | {other} | {' | '.join(difference(*pair) for pair in splits)} |"


def spread(values: dict[int, float]) -> str:
    """Mean and standard deviation over seeds."""
    return f"{fmean(values.values()):.4f} ± {stdev(values.values()):.4f}"


def difference(one: dict[int, float], other: dict[int, float]) -> str:
    """The mean paired difference over the seeds that both have, with its 95 % t interval."""
    pairs = np.array([one[seed] - other[seed] for seed in one if seed in other])
    low, high = t_interval(pairs)
    return f"{pairs.mean():+.4f} [{low:+.4f}, {high:+.4f}]"


if __name__ == "__main__":
    main()
