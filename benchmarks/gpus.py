"""The same work on 1, 2, 4 and 8 GPUs of one host: ``python -m benchmarks.gpus``. Prints Markdown.

Three works, each as a user types it: a grid of seeds, Phase 4 of four points on five seeds each, and a race; with
``--works ray`` a grid of seeds by Ray's launcher too. Each runs twice with a single short epoch before: once to compile
kernels (``--warm`` leaves it out), and once to measure the start and the end of its processes, which ``trained`` is
without. ``busy`` is the share of the time in which kernels ran on a GPU, as nvidia-smi samples it.

``--smoke`` is the same with tiny models on a CPU, where processes take the place of GPUs.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mdaf.gpus import VISIBLE, visible

COLUMNS = ("work", "GPUs", "wall, s", "times faster", "trained, s", "times faster", "busy")
STUDY = "gpus"
SHORT = ("training.epochs=1", "training.steps_per_epoch=2")
SMOKE = (
    "data=synthetic_tiny",
    "device=cpu",
    "model.sequence.embedding={item: 8, category: 8, other: 4}",
    "model.sequence.hidden=16",
    "model.sequence.layers=1",
    "model.sequence.state=4",
    "model.static.embedding=4",
    "model.head=[8]",
    "training.batch_size=256",
)


def main() -> None:
    """Measures what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpus", description=__doc__)
    parser.add_argument("overrides", nargs="*", help="of the config, say data=synthetic_taobao data.bucketing=32")
    parser.add_argument("--works", nargs="+", default=list(WORKS)[:3], choices=list(WORKS))
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--seeds", type=int, default=40, help="of the grid")
    parser.add_argument("--runs", type=int, default=64, help="of the race")
    parser.add_argument("--at-once", type=int, default=16, help="runs of the race that are proposed together")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--warm", action="store_true", help="these kernels are compiled already")
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_intermixed_args()
    if options.smoke:
        options.overrides = [*SMOKE, *options.overrides]
        options.seeds, options.runs, options.at_once, options.epochs = 4, 4, 2, 1
    print(f"{' '.join(options.overrides)}; {options.epochs} epochs\n")
    print("| " + " | ".join(COLUMNS) + " |\n|---|" + "---:|" * (len(COLUMNS) - 1), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), options)
        for work in options.works:
            first: tuple[float, float] | None = None
            for gpus in options.gpus:
                whole, start, busy = bench.measured(WORKS[work], gpus)
                trained = whole - start
                first = first or (whole, trained)
                cells = [str(gpus), f"{whole:.1f}", f"{first[0] / whole:.2f}", f"{trained:.1f}"]
                cells += [f"{first[1] / trained:.2f}" if trained > 0 else "", busy]
                print(f"| {TITLES[work].format(**vars(options))} | {' | '.join(cells)} |", flush=True)


class Bench:
    """Commands in a folder of their own, with a study for Phase 4."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self.folder, self.options = folder, options
        self._runs = 0
        self._prepared = False

    def measured(self, work: Work, gpus: int) -> tuple[float, float, str]:
        """Seconds of the whole, of the same with a single short epoch, and the share of the time in kernels."""
        if work is phase4:
            self.prepare()
        if not self.options.warm:
            self._timed(work, gpus, SHORT)
        start = self._timed(work, gpus, SHORT)
        with Busy() as busy:
            whole = self._timed(work, gpus, (f"training.epochs={self.options.epochs}",))
        return whole, start, busy.shown(visible()[:gpus])

    def _timed(self, work: Work, gpus: int, more: Sequence[str]) -> float:
        self._runs += 1
        where = self.folder / f"work-{self._runs}"
        begun = time.perf_counter()
        finished = work(self, [*self.options.overrides, *self.share(gpus), *more], where)
        seconds = time.perf_counter() - begun
        found = len(list(where.rglob("result.json")))
        if found != finished:
            raise SystemExit(f"{found} of {finished} runs finished below {where}")
        shutil.rmtree(where)
        return seconds

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


@dataclass
class Busy:
    """Samples the share of the time in which kernels run on each GPU, while it lasts."""

    samples: dict[str, list[float]] = field(default_factory=dict)

    def __enter__(self) -> Busy:
        self._process = None
        if shutil.which("nvidia-smi"):
            query = ["nvidia-smi", "--query-gpu=index,utilization.gpu", "--format=csv,noheader,nounits", "-lms", "200"]
            self._process = subprocess.Popen(query, stdout=subprocess.PIPE, text=True)
            threading.Thread(target=self._read, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()

    def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            index, _, share = line.partition(",")
            if share.strip().isdigit():
                self.samples.setdefault(index.strip(), []).append(float(share))

    def shown(self, gpus: Sequence[str]) -> str:
        """The mean of each of these GPUs."""
        return ", ".join(f"{statistics.fmean(self.samples[name]):.0f} %" for name in gpus if self.samples.get(name))


if __name__ == "__main__":
    main()
