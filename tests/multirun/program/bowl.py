"""A program of somebody else whose value is a bowl with the noise of its seed, swept and judged in this process."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import optuna
from omegaconf import DictConfig, OmegaConf
from optuna.study import Study

from mdaf.multirun.program.content import Report
from mdaf.multirun.program.pipeline import decide
from mdaf.multirun.program.typed import OURS, Program
from mdaf.processes.interruption import environment
from mdaf.sweeper.storage.opening import open_storage
from tests.sweeper.sphere import CONFIG, sweep
from tests.sweeper.tiny import below

OUTER = {"x": 0.9, "y": 0.9}
SWEEP = (
    "x=interval(0.0,1.0)",
    "y=interval(0.0,1.0)",
    "hydra.sweeper.n_trials=6",
    "hydra.sweeper.sampler.seed=1",  # verdicts have errors; these are on the same points each time
    "hydra.sweeper.enqueue={usual: {x: 0.9, y: 0.9}}",
)


def loss(cfg: DictConfig) -> float:
    """Least at x = 0.3, y = 0.6; a part of the noise is the seed's own, whatever the point."""
    common = random.Random(int(cfg.seed)).gauss(0, 0.05)
    own = random.Random(f"{cfg.seed} {cfg.x} {cfg.y}").gauss(0, 0.002)
    return float((cfg.x - 0.3) ** 2 + (cfg.y - 0.6) ** 2 + common + own)


def score(cfg: DictConfig) -> float:
    """The same, to be maximized."""
    return 1 - loss(cfg)


def swept(folder: Path, *overrides: str, task: Callable[[DictConfig], Any] = loss, sign: str = "minimize") -> Study:
    """A study "s" of the program."""
    return sweep(folder, *SWEEP, f"hydra.sweeper.direction={sign}", *overrides, task=task).study


def phase4(folder: Path, *overrides: str) -> DictConfig:
    """The config of ``mdaf-phase4 study=s program=... --yes``, which is composed as a user's is."""
    where = {"storage": f"sqlite:///{folder}/s.db", "folder": f"{folder}/phase4"}
    return below(where, "phase4", "study=s", "program='python app.py'", "ask=false", *overrides)


class Started:
    """What the program was started with: the number of starts, and the overrides of every job that ran."""

    def __init__(self) -> None:
        self.starts: list[list[str]] = []
        self.jobs: list[list[str]] = []


@contextmanager
def in_this_process(folder: Path, task: Callable[[DictConfig], Any] = loss) -> Iterator[Started]:
    """Starts the program within this process instead of a new one."""
    started = Started()

    def run(self: Program, overrides: Sequence[str], variables: Mapping[str, str]) -> None:
        typed = [override for override in overrides if override != OURS]
        started.starts.append(typed)
        with environment(variables):
            found = sweep(folder, *typed, task=task, stored=False)
        started.jobs += found.overrides.values()

    def config(self: Program, overrides: Sequence[str]) -> Any:
        return OmegaConf.create(CONFIG)

    with patch.object(Program, "run", run), patch.object(Program, "config", config):
        yield started


def judged(folder: Path, *overrides: str, task: Callable[[DictConfig], Any] = loss) -> tuple[Path, Report, Started]:
    """The verdict on the study "s": the report's folder, the report, and what was started for it."""
    cfg = phase4(folder, *overrides)
    with in_this_process(folder, task) as started:
        return *decide(cfg), started


def runs_in(folder: Path) -> Study:
    """The study of the runs."""
    return optuna.load_study(study_name="s-phase4", storage=open_storage(f"sqlite:///{folder}/s.db", create=False))
