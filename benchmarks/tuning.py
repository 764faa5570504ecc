"""A sweep of 20 trials beside Ray Tune and hydra-optuna-sweeper: ``python -m benchmarks.tuning --ray PYTHON``.

The same training, data, epochs, number of trials and search space on one machine; each sweep with its own way to choose
points, to stop trials and to start their jobs:

- Ray Tune with ASHA and random points, in an environment of its own (``benchmarks/tuning_ray.py``), a process a trial
- hydra-optuna-sweeper as it is, with Hydra's basic launcher: our program with ``hydra/sweeper=optuna``
- this sweeper as it is, then with what it has to be faster: pruning, several trials in one model, two workers

```
python3.11 -m venv ray && ray/bin/pip install 'ray[tune]' -e '.[ctr]'
python -m benchmarks.tuning --ray ray/bin/python
```

They run in turn. Seconds are from the begin of a command to its end, with its imports. *Of the processor* is what all
of its processes worked, which are looked at twenty times a second, since Ray's are no children of the command. Without
``--ray``, Ray Tune is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
RAY = Path(__file__).with_name("tuning_ray.py")
MARK = "MDAF_BENCHMARK_SWEEP"  # in the environment of every process of a sweep
LOOK_SECONDS = 0.05
TASK = ("data=synthetic_tiny", "experiment=small", "device=cpu")
SPACE = {
    "regularization.dropout": (0.15, 0.35, False),
    "regularization.weight_decay": (1e-5, 1e-4, True),
    "regularization.label_smoothing": (0.0, 0.1, False),
}
OURS = "hydra/sweeper=regularization"
VARIANTS = {
    "Ray Tune, ASHA": (),
    "hydra-optuna-sweeper": ("hydra/sweeper=optuna", "hydra.sweeper.direction=maximize", "hydra.sweeper.n_jobs=1"),
    "this sweeper": (OURS,),
    "this sweeper, median pruner": (OURS, "hydra/sweeper/pruner=median"),
    "this sweeper, ten trials in one model": (OURS, "hydra/launcher=replicas", "hydra.sweeper.n_jobs=10"),
    "this sweeper, two workers": (OURS, "sweep.workers=2"),
}


@dataclass(frozen=True)
class Swept:
    """A sweep: seconds by the clock and of the processor, epochs trained, trials, and the best validation AUC."""

    seconds: float
    processor: float
    epochs: int
    trials: int
    best: float


def command(variant: str, folder: Path, trials: int, epochs: int, ray: str | None) -> list[str]:
    """The command of a sweep; ``folder`` gets its runs."""
    overrides = [*TASK, f"training.epochs={epochs}", f"data.root={folder.parent}/stores"]
    if not VARIANTS[variant]:
        task = {"overrides": overrides, "trials": trials, "epochs": epochs, "folder": str(folder), "space": SPACE}
        (folder / "task.json").write_text(json.dumps(task))
        return [str(ray), str(RAY), str(folder / "task.json")]
    words = [sys.executable, "-m", "mdaf.sweeper", "-m", *VARIANTS[variant], *overrides]
    words += [f"hydra.sweeper.n_trials={trials}", f"hydra.sweep.dir={folder}/runs"]
    if OURS not in VARIANTS[variant]:
        words += [
            f"{name}={f'tag(log,interval({low},{high}))' if log else f'interval({low},{high})'}"
            for name, (low, high, log) in SPACE.items()
        ]
    return [*words, f"sweep.storage=sqlite:///{folder}/s.db"]


def swept(variant: str, folder: Path, trials: int, epochs: int, ray: str | None) -> Swept:
    """Runs a sweep to its end."""
    folder.mkdir()
    words = command(variant, folder, trials, epochs, ray)
    environment = {name: value for name, value in os.environ.items() if name != "MDAF_STORAGE"}
    environment |= {"PYTHONPATH": str(ROOT), MARK: str(folder)}
    work, begun = Work(f"{MARK}={folder}"), time.perf_counter()
    ended = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - begun
    processor = work.seconds()
    if ended.returncode:
        raise SystemExit(f"{variant} failed: {' '.join(words)}\n{ended.stderr[-4000:]}")
    if not VARIANTS[variant]:
        said = json.loads(ended.stdout.splitlines()[-1])
        if said["failed"]:
            raise SystemExit(f"{variant}: {said['failed']} trials failed")
        return Swept(seconds, processor, said["epochs"], trials, said["best"])
    curves = [_values(file) for file in sorted((folder / "runs").glob("*/metrics.csv"))]
    best = max(value for curve in curves for value in curve)
    return Swept(seconds, processor, sum(map(len, curves)), len(curves), best)


def _values(file: Path) -> list[float]:
    """The validation AUC of each epoch of a run."""
    heading, *rows = [line.split(",") for line in file.read_text().splitlines()]
    return [float(row[heading.index("val_auc")]) for row in rows]


class Work:
    """Looks at the processes that have a mark in their environment, and at how long each has worked."""

    def __init__(self, mark: str) -> None:
        self._mark, self._found, self._strange = f"{mark}\0".encode(), dict[tuple[str, str], int](), set[str]()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look_on, daemon=True)
        self._thread.start()

    def seconds(self) -> float:
        """What they all worked until now, in seconds of the processor. Nobody looks at them any more."""
        self._over.set()
        self._thread.join()
        return sum(self._found.values()) / os.sysconf("SC_CLK_TCK")

    def _look_on(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            for process in filter(str.isdecimal, os.listdir("/proc")):
                if process not in self._strange:
                    with suppress(OSError):  # it has ended
                        self._look_at(process)

    def _look_at(self, process: str) -> None:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        user, system, began = int(fields[11]), int(fields[12]), fields[19]
        if (process, began) in self._found or self._mark in Path(f"/proc/{process}/environ").read_bytes():
            self._found[process, began] = user + system
        elif time.time() - os.stat(f"/proc/{process}").st_mtime > 1:  # a young one has its parent's environment
            self._strange.add(process)


def table(found: dict[str, list[Swept]]) -> str:
    """Markdown: a row for each variant, medians over its sweeps."""
    rounds = len(next(iter(found.values())))
    lines = [f"| {rounds} sweeps each | seconds | least to greatest | of the processor | epochs | trials | best AUC |"]
    lines.append("|---|---:|---:|---:|---:|---:|---:|")
    for variant, sweeps in found.items():
        clock = sorted(one.seconds for one in sweeps)
        cells = [variant, f"{median(clock):.1f}", f"{clock[0]:.1f} to {clock[-1]:.1f}"]
        cells += [f"{median(one.processor for one in sweeps):.1f}", f"{median(one.epochs for one in sweeps):.0f}"]
        cells += [f"{median(one.trials for one in sweeps):.0f}", f"{median(one.best for one in sweeps):.4f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Runs the sweeps in turn and prints one table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tuning", description=__doc__)
    parser.add_argument("--ray", metavar="PYTHON", help="the interpreter that has Ray and this project")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--smoke", action="store_true", help="two trials of one epoch, one round")
    options = parser.parse_args()
    if options.smoke:
        options.trials, options.epochs, options.rounds = 2, 1, 1
    chosen = [variant for variant in options.variants if VARIANTS[variant] or options.ray]
    found: dict[str, list[Swept]] = {variant: [] for variant in chosen}
    with tempfile.TemporaryDirectory() as name:
        # Prepares the data and compiles what the first run on a machine compiles, so that no sweep pays for it.
        first = [sys.executable, "-m", "mdaf.sweeper", *TASK, "training.epochs=1", f"data.root={name}/stores"]
        subprocess.run(first, cwd=name, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True, capture_output=True)
        for number in range(options.rounds):
            for variant, sweeps in found.items():
                folder = Path(name) / f"{number}-{list(VARIANTS).index(variant)}"
                sweeps.append(swept(variant, folder, options.trials, options.epochs, options.ray))
    print(table(found))


if __name__ == "__main__":
    main()
