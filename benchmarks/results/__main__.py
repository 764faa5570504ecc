"""Every model on one data set, with match features and without, tuned alike: ``python -m benchmarks.results ...``.

Each contender (``benchmarks/results/contenders.py``) is trained at twelve points with one seed. The point whose best
epoch has the highest validation AUC is then trained with five other seeds. Their best checkpoints are scored on
validation and, once, on test. The twelve trials are one sweep and the seeds one launch, so on CUDA they train in
lock-step; ``--jobs`` such processes run beside each other. An ablation is trained at the point of the model that it is
made from.

What is finished is in ``results.json`` of the folder and is not repeated, even where the runs themselves are gone; a
sweep that was interrupted goes on. Prints Markdown for docs/results.md.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from omegaconf import OmegaConf

from benchmarks.results.contenders import CONTENDERS, Contender
from benchmarks.results.tables import FIGURES, tables
from mdaf.data.inspecting.baselines import rule_aucs
from mdaf.data.preparing.prepare import prepare_config
from mdaf.data.store.batches.histories import item_in_history
from mdaf.data.store.event_store import EventStore
from mdaf.files.atomic import write_atomically
from mdaf.multirun.analysis.rows.scores import DigestedRun, Scorer, read_scores
from mdaf.sweeper.runs.reader import read_config, read_run
from mdaf.sweeper.runs.test_reads import log_read
from mdaf.sweeper.training.evaluating.metrics import auc, calibration_error, grouped_auc, log_loss

SPLITS = ("validation", "test")
BUDGET = ("epochs", "points", "tuning_seed", "seeds")  # what is finished must have been trained with


def main() -> None:
    """Trains what is missing and prints the tables of what is there."""
    options = _parser().parse_args()
    bench = Bench(options)
    bench.run()
    print("\n".join(tables(bench.results)))
    missing = [name for name in options.only if name not in bench.results["contenders"]]
    if missing:
        raise SystemExit(f"not finished: {'; '.join(missing)}. The same command goes on.")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.results", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("overrides", nargs="*", help="of every run, say data=movielens data.path=ml-100k.inter")
    parser.add_argument("--only", nargs="+", default=list(CONTENDERS), choices=CONTENDERS, metavar="NAME")
    parser.add_argument("--epochs", type=int, default=4, help="of every run")
    parser.add_argument("--points", type=int, default=12, help="so many of the design's points, from the first")
    parser.add_argument("--tuning-seed", type=int, default=7)
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 123, 456, 789, 2024])
    parser.add_argument("--jobs", type=int, default=1, help="launches beside each other")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="after which no launch is begun")
    parser.add_argument("--folder", type=Path, default=Path("runs/results"))
    return parser


class NoLaunchError(Exception):
    """A launch that failed, or that is not begun any more since the time is over."""


class Bench:
    """Launches below one folder and what their runs give.

    ``results``  what is finished: ``tuning`` name -> [{overrides, value}], ``contenders`` name -> {chosen, figures},
                 ``rules`` rule -> split -> AUC, ``oracle`` split -> figure -> value.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.folder = options, options.folder
        self.scorer, self.scoring, self.writing = Scorer(), Lock(), Lock()
        self.new_items: dict[str, torch.Tensor] = {}
        self.ends = time.monotonic() + 60 * options.minutes
        self.file: Path = self.folder / "results.json"
        budget = {name: getattr(options, name) for name in BUDGET}
        self.results: dict[str, Any] = {"budget": budget, "tuning": {}, "contenders": {}}
        if self.file.is_file():
            self.results = json.loads(self.file.read_text())
            self._expect("budget", budget)

    def run(self) -> None:
        """Tunes and repeats whatever is not finished; a contender is repeated as soon as it is tuned."""
        names = [name for name in self.options.only if name not in self.results["contenders"]]
        with ThreadPoolExecutor(self.options.jobs) as pool:
            tuned = dict.fromkeys(CONTENDERS[name].at_point_of or name for name in names)
            tuning: dict[Future[None], str] = {pool.submit(self.tune, CONTENDERS[name]): name for name in tuned}
            waiting: set[Future[None]] = set(tuning)
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    try:
                        future.result()
                    except Exception as error:  # the others go on
                        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
                        continue
                    ready = [n for n in names if tuning.get(future, "") == (CONTENDERS[n].at_point_of or n)]
                    waiting |= {pool.submit(self.repeat, CONTENDERS[name]) for name in ready}

    def tune(self, contender: Contender) -> None:
        """The validation AUC of each of the contender's points."""
        if contender.name in self.results["tuning"]:
            return
        folder, points = self._folder("tuning", contender.name), contender.points[: self.options.points]
        known = (f"p{number}: {_mapping(contender, point)}" for number, point in enumerate(points))
        self._launch(
            *contender.overrides, *(f"{key}={values}" for key, values in contender.space.items()),
            f"training.epochs={self.options.epochs}", f"seed={self.options.tuning_seed}",
            f"hydra.sweep.dir={folder}", "hydra/sweeper=study", "hydra.sweeper.direction=maximize",
            "hydra.sweeper.objectives=[val_auc]", "hydra.sweeper.max_failure_rate=1.0",
            f"hydra.sweeper.storage=sqlite:///{folder}.db", "hydra.sweeper.study_name=tuning",
            f"hydra.sweeper.n_trials={len(points)}", f"hydra.sweeper.n_jobs={len(points)}",
            f"hydra.sweeper.enqueue={{{', '.join(known)}}}",
        )  # fmt: skip
        found = [_trial(run, contender) for run in sorted(folder.glob("[0-9]*"))]
        self._keep("tuning", contender.name, [trial for trial in found if trial["value"] is not None])

    def repeat(self, contender: Contender) -> None:
        """The figures of the contender's best point over the seeds."""
        trials = self.results["tuning"][contender.at_point_of or contender.name]
        chosen = max(trials, key=lambda trial: trial["value"])["overrides"]
        folder, seeds = self._folder("repeated", contender.name), self.options.seeds
        runs = [folder / f"seed-{seed}" for seed in seeds]
        missing = [seed for seed, run in zip(seeds, runs, strict=True) if not (run / "result.json").is_file()]
        if missing:
            self._launch(
                *contender.overrides, *chosen, f"training.epochs={self.options.epochs}",
                f"seed={','.join(map(str, missing))}", f"hydra.sweep.dir={folder}", "hydra.sweep.subdir=seed-${seed}",
            )  # fmt: skip
        with self.scoring:
            self._expect("data_hash", str(read_run(runs[0]).result["data_hash"]))
            log_read(runs, self.folder, "benchmark")
            figures = {split: self._over_seeds([self._scored(run, split) for run in runs]) for split in SPLITS}
            self._rules(runs[0])
        self._keep("contenders", contender.name, {"chosen": chosen, "figures": figures})

    def _folder(self, kind: str, name: str) -> Path:
        return self.folder / kind / "".join(letter if letter.isalnum() else "_" for letter in name)

    def _launch(self, *overrides: str) -> None:
        """Runs a launch to its end. NoLaunchError with what it said last if it fails."""
        where = next(part for part in overrides if part.startswith("hydra.sweep.dir="))
        if time.monotonic() > self.ends:
            raise NoLaunchError(f"{where}: not begun, the time is over")
        begun = time.monotonic()
        command = [sys.executable, "-m", "sweeper", "-m", *self.options.overrides, *overrides]
        cores = str(max(1, (os.cpu_count() or 1) // self.options.jobs))
        end = subprocess.run(command, capture_output=True, text=True, env={"OMP_NUM_THREADS": cores} | os.environ)
        if end.returncode:
            raise NoLaunchError(f"{shlex.join(command)}\n{end.stdout[-2000:]}\n{end.stderr[-2000:]}")
        print(f"{where} took {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)

    def _expect(self, what: str, value: Any) -> None:
        """SystemExit unless what is finished was trained like this."""
        if self.results.setdefault(what, value) != value:
            raise SystemExit(f"{self.file}: {what} is {self.results[what]}, expected {value}; take another --folder")

    def _keep(self, kind: str, name: str, what: Any) -> None:
        """Adds what is finished and writes all of it."""
        with self.writing:
            self.results[kind][name] = what
            content = json.dumps(self.results, indent=1).encode()
            write_atomically(self.file, lambda file: file.write(content))

    def _scored(self, run: Path, split: str) -> dict[str, float]:
        if read_scores(run, split) is None:
            self.scorer.keep(DigestedRun.read(run), split)
        scores = read_scores(run, split)
        assert scores is not None
        if split not in self.new_items:
            self.new_items[split] = new_items(prepare_config(read_config(run).data), split)
        logits, labels = torch.from_numpy(scores.logits), torch.from_numpy(scores.labels).float()
        return figures_of(logits, labels, torch.from_numpy(scores.users), self.new_items[split])

    def _over_seeds(self, figures: Sequence[dict[str, float]]) -> dict[str, list[float]]:
        return {name: [of_seed[name] for of_seed in figures] for name in FIGURES}

    def _rules(self, run: Path) -> None:
        """What trivial rules and, where it is known, the oracle reach on the data; looked at once."""
        if "rules" in self.results:
            return
        store = prepare_config(read_config(run).data)
        self.results["oracle"] = {split: oracle for split in SPLITS if (oracle := _oracle(store, split)) is not None}
        self.results["rules"] = rule_aucs(store)


def figures_of(logits: torch.Tensor, labels: torch.Tensor, users: torch.Tensor, new: torch.Tensor) -> dict[str, float]:
    """Each of ``FIGURES``, of rows (row,); ``new`` says whose item is new to its user."""
    values = (
        auc(logits, labels), grouped_auc(logits, labels, users), auc(logits[new], labels[new]),
        log_loss(logits, labels), calibration_error(logits, labels),
    )  # fmt: skip
    return dict(zip(FIGURES, values, strict=True))


def new_items(store: EventStore, split: str) -> torch.Tensor:
    """Whether no event of a sample's history has the candidate's item, (samples,) bool; all true without items."""
    held = item_in_history(store, split)
    return torch.ones(len(store.samples[split]), dtype=torch.bool) if held is None else torch.from_numpy(~held)


def _oracle(store: EventStore, split: str) -> dict[str, float] | None:
    """The figures of the true probabilities."""
    samples = store.samples[split]
    if samples.probability is None:
        return None
    logits = torch.logit(torch.tensor(samples.probability, dtype=torch.float64), eps=1e-6)
    labels, users = torch.tensor(samples.label).float(), torch.tensor(store.users_of[samples.user])
    return figures_of(logits, labels, users, new_items(store, split))


def _trial(run: Path, contender: Contender) -> dict[str, Any]:
    """The point of a trial as overrides, and its best validation AUC; None if it failed."""
    config, result = read_config(run), read_run(run).result
    best = result["best"]["val_auc"] if result.get("state") == "complete" else None
    return {"overrides": [f"{key}={OmegaConf.select(config, key)}" for key in contender.space], "value": best}


def _mapping(contender: Contender, point: Sequence[float]) -> str:
    """A point as a mapping of the command line."""
    return f"{{{', '.join(f'{key}: {value}' for key, value in zip(contender.space, point, strict=True))}}}"


if __name__ == "__main__":
    main()
