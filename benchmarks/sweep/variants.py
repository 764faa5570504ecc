"""The sweeps that are compared, each as a command, and the time of their trials."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
_BARE = """
import sys, optuna
from benchmarks.sweep.job import note_time, objective
url, times, trials = sys.argv[1], sys.argv[2], int(sys.argv[3])
optuna.logging.set_verbosity(optuna.logging.WARNING)
sampler = optuna.samplers.TPESampler(seed=1, multivariate=False, constant_liar=False)
study = optuna.create_study(study_name="s", storage=url, direction="maximize", sampler=sampler)
def run(trial):
    note_time(times)
    dropout = trial.suggest_float("dropout", 0.15, 0.35)
    decay = trial.suggest_float("weight_decay", 1e-5, 1e-4, log=True)
    return objective(dropout, decay, trial.suggest_float("label_smoothing", 0.0, 0.1))
study.optimize(run, n_trials=trials)
"""
# With --light no package can be imported that ``pip install .`` does not bring.
_LIGHT = """
import runpy, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "numba", "polars", "sklearn", "scipy", "pandas", "plotly"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
runpy.run_module("benchmarks.sweep.job", run_name="__main__", alter_sys=True)
"""
_SPACE = (
    "dropout=interval(0.15,0.35)",
    "weight_decay=tag(log,interval(1e-5,1e-4))",
    "label_smoothing=interval(0.0,0.1)",
)
_OURS = "hydra.sweeper._target_=mdaf.sweeper.search.plugin.RegularizationSweeper"


def bare(folder: Path, trials: int) -> list[str]:
    """Optuna's own loop."""
    return [sys.executable, "-c", _BARE, f"sqlite:///{folder}/s.db", f"{folder}/times", str(trials)]


def hydra(config: str, settings: Sequence[str], folder: Path, trials: int) -> list[str]:
    """A Hydra multirun with upstream's config of the sweeper, and ``settings``."""
    url = f"sqlite:///{folder}/s.db"
    command = [sys.executable, "-m", "benchmarks.sweep.job", "--config-name", config, "-m", "hydra/sweeper=optuna"]
    command += [f"hydra.sweeper.storage={url}", "hydra.sweeper.study_name=s", "hydra.sweeper.direction=maximize"]
    command += [f"hydra.sweeper.n_trials={trials}", "hydra.sweeper.n_jobs=1", "hydra.sweeper.sampler.seed=1"]
    command += [f"hydra.sweep.dir={folder}/runs", f"times={folder}/times", *_SPACE, *settings]
    return [*command, f"sweep.storage={url}"] if config == "recording" else command


VARIANTS: dict[str, Callable[[Path, int], list[str]]] = {
    "Optuna alone": bare,
    "hydra-optuna-sweeper": partial(hydra, "plain", ()),
    "this sweeper, the same job": partial(hydra, "plain", (_OURS,)),
    "this sweeper, a job that records": partial(hydra, "recording", (_OURS,)),
}


def trial_times(variant: str, trials: int, folder: Path | None = None, *, light: bool = False) -> np.ndarray:
    """Runs one sweep: the seconds by the clock and of the processor of each trial but the last, ``(trials - 1, 2)``."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        command = VARIANTS[variant](Path(name), trials)
        if light and command[1] == "-m":
            command[1:3] = ["-c", _LIGHT]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        ended = subprocess.run(command, cwd=name, env=environment, capture_output=True, text=True, check=False)
        if ended.returncode:
            raise RuntimeError(f"{variant} failed: {' '.join(command)}\n{ended.stderr}")
        return np.diff(np.loadtxt(Path(name) / "times"), axis=0)
