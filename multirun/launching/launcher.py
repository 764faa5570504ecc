"""``hydra/launcher=replicas`` as Hydra sees it: a thin entry, so that finding the plugin imports no torch."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from mdaf import sweeper
from mdaf.hydra_internals import BASIC_SWEEPER, BasicLauncher
from mdaf.sweeper.hydra_ext.config_cache import ComposedAlike, ComposedOnce
from mdaf.sweeper.hydra_ext.imports import imported_to_stay


class ReplicaLauncher(Launcher):
    """Trains the jobs of a launch that differ in nothing but replica keys in one loop, as replicas in lock-step.

    Which keys these are is said in ``mdaf.sweeper.training.replicas.REPLICA_KEYS``. Each job has the result
    and the folder that it would have had alone. ``max_replicas`` go together at most; None: as many as fit.
    """

    def __init__(self, max_replicas: int | None = None) -> None:
        self.max_replicas = max_replicas
        self.hydra_context: HydraContext | None = None
        self.task_function: TaskFunction | None = None
        self.config: DictConfig | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keeps what a launch needs. What the sweeper of a grid composes from now on is kept for the launch."""
        loader: Any = ComposedAlike.over(hydra_context.config_loader)
        self._alike = loader
        if OmegaConf.select(config, "hydra.sweeper._target_") == BASIC_SWEEPER:
            loader = ComposedOnce(loader)
        hydra_context.config_loader = loader
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Runs the jobs and returns what came of each, in their order. UserError for another program's jobs."""
        with imported_to_stay():
            from mdaf.multirun.launching.lockstep import launch

        assert self.hydra_context is not None
        assert self.task_function is not None
        assert self.config is not None
        check_task(self.task_function)
        return launch(self.hydra_context, self.config, job_overrides, initial_job_idx, self.max_replicas)


class AutoLauncher(ReplicaLauncher):
    """Replicas in lock-step where that saves time, on CUDA; one job after the other, as Hydra does it, elsewhere."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Runs the jobs and returns what came of each, in their order."""
        if len(job_overrides) > 1 and self._on_cuda():
            return super().launch(job_overrides, initial_job_idx)
        return self._basic.launch(job_overrides, initial_job_idx)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keeps what a launch needs, for either way."""
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        self._basic = BasicLauncher()
        own = dataclasses.replace(hydra_context, config_loader=self._alike)  # nobody takes what it composes
        self._basic.setup(hydra_context=own, task_function=task_function, config=config)

    def _on_cuda(self) -> bool:
        assert self.config is not None
        name = str(self.config.device.name)
        if name != "auto":
            return name.startswith("cuda")
        with imported_to_stay():
            from mdaf.sweeper.machine.device import available_devices

        return available_devices()[0] == "cuda"


def check_task(task: TaskFunction) -> None:
    """UserError unless the jobs are those of ``python -m sweeper``: those of another program would not be called."""
    where = Path(inspect.getfile(inspect.unwrap(task))).resolve()  # a sweep wraps its jobs
    if where != Path(sweeper.__file__).resolve().with_name("__main__.py"):
        from mdaf.errors import UserError

        raise UserError(
            f"hydra/launcher=replicas: found the task {task.__name__} of {where}, expected that of python -m sweeper, "
            "whose jobs it trains together; use another launcher, say hydra/launcher=basic"
        )
