"""The works that are measured, each a command as a user types it, and the folder in which they run."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.gpus.busy import Busy
from mdaf.hardware.gpus import VISIBLE, visible

STUDY = "gpus"
SHORT = ("training.epochs=1", "training.steps_per_epoch=2")


@dataclass(frozen=True)
class Measured:
    """A work on some GPUs.

    ``whole``  seconds
    ``start``  seconds of the same with a single short epoch
    ``busy``   the share of the time in which kernels ran
    ``aucs``   the best validation AUC of each config and seed
    """

    whole: float
    start: float
    busy: str
    aucs: dict[str, float]

    @property
    def trained(self) -> float:
        """Seconds without start and end."""
        return self.whole - self.start

    def difference(self, other: Measured) -> float | None:
        """The most by which the AUC of a run differs from the other's; None if no run is the same."""
        both = self.aucs.keys() & other.aucs.keys()
        return max((abs(self.aucs[run] - other.aucs[run]) for run in both), default=None)


class Bench:
    """Commands in a folder of their own, with a study for Phase 4."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self.folder, self.options = folder, options
        self._runs = 0
        self._prepared = False

    def measured(self, work: Work, gpus: int) -> Measured:
        """Measures a work on so many GPUs."""
        if work is phase4:
            self.prepare()
        if not self.options.warm:
            self._timed(work, gpus, SHORT)
        start, _ = self._timed(work, gpus, SHORT)
        with Busy() as busy:
            whole, aucs = self._timed(work, gpus, (f"training.epochs={self.options.epochs}",))
        return Measured(whole, start, busy.shown(visible()[:gpus]), aucs)

    def _timed(self, work: Work, gpus: int, more: Sequence[str]) -> tuple[float, dict[str, float]]:
        self._runs += 1
        where = self.folder / f"work-{self._runs}"
        begun = time.perf_counter()
        finished = work(self, [*self.options.overrides, *self.share(gpus), *more], where)
        seconds = time.perf_counter() - begun
        results = [json.loads(file.read_text()) for file in where.rglob("result.json")]
        if len(results) != finished:
            raise SystemExit(f"{len(results)} of {finished} runs finished below {where}")
        shutil.rmtree(where)
        return seconds, {f"{one['config_hash']} {one['seed']}": one["best"]["val_auc"] for one in results}

    def share(self, gpus: int) -> list[str]:
        """The words that give a command so many GPUs, or in a smoke test processes."""
        if not self.options.smoke:
            return [f"device.gpus={gpus}", "hydra/launcher=replicas"]
        return ["hydra/launcher=replicas", f"hydra.launcher.processes={gpus}"]

    def prepare(self) -> None:
        """A study for Phase 4, once, and not measured."""
        if self._prepared:
            return
        words = ["-m", "hydra/sweeper=regularization", f"hydra.sweeper.study_name={STUDY}", "hydra.sweeper.n_trials=4"]
        more = [f"hydra.sweep.dir={self.folder}/study", "hydra.sweeper.n_jobs=4", "training.epochs=1"]
        self.run("sweeper", *words, *self.options.overrides, *self.share(1), *more)
        self._prepared = True

    def run(self, module: str, *words: str, more: dict[str, str] | None = None) -> None:
        """``python -m mdaf.MODULE words``; what it says is shown where it fails."""
        command = [sys.executable, "-m", f"mdaf.{module}", *words]
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")]),
            **(more or {}),
        }
        begun = time.perf_counter()
        end = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True)
        if end.returncode:
            raise SystemExit(f"{' '.join(words)}\n{end.stderr[-4000:]}")
        print(f"{time.perf_counter() - begun:.1f} s: {module} {' '.join(words)}", file=sys.stderr, flush=True)


Work = Callable[[Bench, list[str], Path], int]  # runs a command into a folder; how many runs finish there


def seeds(bench: Bench, words: list[str], where: Path) -> int:
    """A grid of seeds."""
    count = bench.options.seeds
    numbers = ",".join(str(seed) for seed in range(1, count + 1))
    bench.run("sweeper", "-m", *words, f"seed={numbers}", f"hydra.sweep.dir={where}")
    return count


def ray(bench: Bench, words: list[str], where: Path) -> int:
    """A grid of seeds by Ray's launcher, a task and a GPU each; Ray sees as many GPUs as are measured."""
    gpus = int(next(word for word in words if word.startswith("device.gpus=")).partition("=")[2])
    own = [word for word in words if not word.startswith(("device.gpus=", "hydra/launcher="))]
    numbers = ",".join(str(seed) for seed in range(1, bench.options.seeds + 1))
    task = ["hydra/launcher=ray", "device=cuda", "device.gpus_per_trial=1"]
    more = {VISIBLE: ",".join(visible()[:gpus])}
    bench.run("sweeper", "-m", *task, *own, f"seed={numbers}", f"hydra.sweep.dir={where}", more=more)
    return int(bench.options.seeds)


def phase4(bench: Bench, words: list[str], where: Path) -> int:
    """Phase 4's runs of four points on five seeds each."""
    epochs = next(word for word in reversed(words) if word.startswith("training.epochs=")).partition("=")[2]
    own = [word for word in words if not word.startswith(("training.epochs=", "hydra"))]
    settings = [f"study={STUDY}", "design=research", "confirm.top=0", "force=true", "ask=false", "test=false"]
    launcher = [] if bench.options.smoke else ["launcher=replicas"]
    bench.run("multirun", *settings, *launcher, f"epochs={epochs}", f"folder={where}", f"reuse={where}", *own)
    return 20


def race(bench: Bench, words: list[str], where: Path) -> int:
    """A race in a study of its own."""
    options = bench.options
    kind = ["hydra/sweeper=regularization", "hydra/sweeper/sampler=racing", f"hydra.sweeper.n_trials={options.runs}"]
    own = [
        f"hydra.sweeper.n_jobs={options.at_once}",
        f"hydra.sweeper.study_name={where.name}",
        f"hydra.sweep.dir={where}",
    ]
    bench.run("sweeper", "-m", *words, *kind, *own)
    return int(options.runs)


WORKS: dict[str, Work] = {"seeds": seeds, "phase4": phase4, "race": race, "ray": ray}
TITLES = {
    "seeds": "{seeds} seeds",
    "phase4": "Phase 4, four points",
    "ray": "{seeds} seeds by Ray, a GPU a task",
    "race": "a race of {runs} runs, {at_once} at once",
}
