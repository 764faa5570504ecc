"""The sweeps that are compared, each as a command, and what one took: seconds, work, epochs, the best AUC."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.tuning.work import Work

ROOT = Path(__file__).resolve().parents[2]
RAY = Path(__file__).with_name("ray_tune.py")
MARK = "MDAF_BENCHMARK_SWEEP"  # in the environment of every process of a sweep
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
