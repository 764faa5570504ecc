"""Somebody else's program, swept within this process: a sphere over three parameters, its config in a folder."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import optuna
from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from omegaconf import DictConfig, OmegaConf
from optuna.study import Study
from optuna.trial import Trial

from mdaf.processes.interruption import environment
from mdaf.sweeper.hydra_ext.configs import sources
from mdaf.sweeper.search.plugin import RegularizationSweeper
from mdaf.sweeper.storage.opening import open_storage
from tests.sweeper.tiny import empty_database

CONFIG = """
x: 1
y: 1
z: foo
error: false
seed: 0
"""
PARAMS = """
hydra:
  sweeper:
    params:
      x: range(-5.5, 5.5, step=0.5)
      y: choice(-5, 0, 5)
"""

#: Overrides that choose the sampler or its seed hold one of these.
SEEDED = ("sampler.seed=", "sweeper/sampler=", "sampler=")

Task = Callable[[DictConfig], Any]


def sphere(cfg: DictConfig) -> float:
    """Least at x = y = 0; fails where it is told to."""
    if cfg.error:
        raise RuntimeError("cfg.error is true")
    return float(cfg.x) ** 2 + float(cfg.y) ** 2


def two_objectives(cfg: DictConfig) -> tuple[float, float]:
    """Both to be minimized, at x = y = 0 and at x = 5, y = 3."""
    return 4 * cfg.x**2 + 4 * cfg.y**2, (cfg.x - 5) ** 2 + (cfg.y - 5) ** 2


def dependent(cfg: DictConfig, trial: Trial) -> None:
    """A custom search space: y within 0.25 of x, and a key that the config doesn't have."""
    x = trial.params["x"]
    trial.suggest_float("y", x - 0.25, x + 0.25)
    if x > 0:
        trial.suggest_float("+w", 0.0, 1.0)


@dataclass
class Swept:
    """What a sweep left: the jobs' configs by job number, its folder, its study if that is kept in a database."""

    folder: Path
    url: str
    jobs: dict[int, DictConfig] = field(default_factory=dict)
    overrides: dict[int, list[str]] = field(default_factory=dict)
    returned: Any = None

    @property
    def results(self) -> DictConfig:
        found = OmegaConf.load(self.folder / "optimization_results.yaml")
        assert isinstance(found, DictConfig)
        return found

    @property
    def study(self) -> Study:
        return optuna.load_study(study_name="s", storage=open_storage(self.url, create=False))


def sweep(
    folder: Path,
    *overrides: str,
    task: Task = sphere,
    sweeper: str = "study",
    config: str = "",
    stored: bool = True,
    raises: bool = True,
) -> Swept:
    """``app.py -m hydra/sweeper=... hydra.sweep.dir=FOLDER/runs OVERRIDES``, and what came of it.

    Trials are drawn from a seed unless the overrides or the config choose the sampler or its seed: a test that counts
    jobs would fail now and then where one point is drawn twice.

    ``stored``: in the study "s" of FOLDER/s.db, one job a launch; or else in memory, as upstream's defaults are.
    ``raises``: errors are raised, as with HYDRA_FULL_ERROR=1; or else told to the user, as without it.
    """
    (folder / "config.yaml").write_text(CONFIG + config)
    swept = Swept(folder / "runs", f"sqlite:///{folder}/s.db")

    def job(cfg: DictConfig) -> Any:
        number = HydraConfig.get().job.num
        swept.jobs[number] = copy.deepcopy(cfg)
        swept.overrides[number] = list(HydraConfig.get().overrides.task)
        return task(cfg)

    typed = [f"hydra/sweeper={sweeper}", *overrides]
    if not any(override.startswith("hydra.sweep.dir=") for override in overrides):
        typed.append(f"hydra.sweep.dir={swept.folder}")
    decided = "sampler" in config or any(word in text for text in overrides for word in SEEDED)
    if sweeper != "basic" and not decided:
        typed.append("hydra.sweeper.sampler.seed=1")
    if stored:
        if not (folder / "s.db").exists():
            (folder / "s.db").write_bytes(empty_database())
        typed += [f"hydra.sweeper.storage={swept.url}", "hydra.sweeper.study_name=s", "hydra.sweeper.n_jobs=1"]
    # Whether the config asks for many runs without -m is found by composing it once more, which has no answer here.
    asked = patch.object(sources, "_asks_for_many_runs", return_value=False)
    with _hydra(folder) as hydra, environment({"HYDRA_FULL_ERROR": "1" if raises else "0"}), asked:
        swept.returned = hydra.multirun(
            config_name="config", task_function=job, overrides=typed, with_log_configuration=False
        )
    return swept


@contextmanager
def _hydra(folder: Path) -> Iterator[Hydra]:
    """Hydra for a program in ``folder``; what it holds globally is put back afterwards."""
    Plugins.instance().register(RegularizationSweeper)  # finds all plugins, which register their configs once
    # Not their whole content, which takes longer than a trial: the config store is only ever added to.
    singletons = {kind: copy.copy(instance) for kind, instance in Singleton._instances.items()}
    GlobalHydra.instance().clear()
    try:
        yield Hydra.create_main_hydra_file_or_module(
            calling_file=str(folder / "app.py"), calling_module=None, config_path=".", job_name="app"
        )
    finally:
        GlobalHydra.instance().clear()
        Singleton._instances = singletons
