"""``hydra/launcher=replicas`` as Hydra sees it: a thin entry, so that finding the plugin imports no torch."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from mdaf import sweeper
from mdaf.errors import UserError
from mdaf.hardware import cores, gpus
from mdaf.hydra_internals import BASIC_SWEEPER, BasicLauncher
from mdaf.multirun.launching.shares import OF_A_GROUP
from mdaf.sweeper.hydra_ext.configs.cache import ComposedAlike, ComposedOnce
from mdaf.sweeper.hydra_ext.imports import imported_to_stay

if TYPE_CHECKING:
    from mdaf.multirun.launching.crew import Crew

#: On a CPU the time of a group is that of its replicas.
OF_A_GROUP_ON_A_CPU = 0.0


class ReplicaLauncher(Launcher):
    """Trains the jobs of a launch that differ in nothing but replica keys in one loop, as replicas in lock-step.

    Which keys these are is said in ``mdaf.sweeper.training.replicas.REPLICA_KEYS``. Each job has the result
    and the folder that it would have had alone.

    ``max_replicas``  go together at most; None: as many as fit.
    ``processes``     that share the jobs of a launch on a CPU. On GPUs there is one for each of ``device.gpus``.
    """

    def __init__(self, max_replicas: int | None = None, processes: int | None = None) -> None:
        self.max_replicas = max_replicas
        self.processes = processes
        self._crew: Crew | None = None
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
        assert self.hydra_context is not None
        assert self.task_function is not None
        assert self.config is not None
        check_task(self.task_function)
        crew = self._crew_for(len(job_overrides))
        with imported_to_stay():
            from mdaf.multirun.launching.lockstep import launch, use_threads
        if self.processes is not None or crew is not None:
            use_threads(cores.threads_of(self.processes or len(crew or ()) + 1))
        results = launch(self.hydra_context, self.config, job_overrides, initial_job_idx, self.max_replicas, crew)
        if crew is not None and self._is_the_only_launch():
            crew.dismiss()
            self._crew = None
        return results

    def _is_the_only_launch(self) -> bool:
        assert self.config is not None
        chosen = self.config.hydra.sweeper
        return bool(chosen._target_ == BASIC_SWEEPER and chosen.max_batch_size is None)

    def _crew_for(self, jobs: int) -> Crew | None:
        """The processes beside this one; None if a single one trains all jobs. They stay for the next launch."""
        if self._crew is None and jobs > 1 and (environments := self._others(jobs)):
            from mdaf.multirun.launching.crew import Crew

            assert self.task_function is not None
            check_task(self.task_function)
            own = cores.part_of(0, len(environments) + 1) if cores.GIVEN in environments[0] else ()
            self._crew = Crew(environments, OF_A_GROUP if self.processes is None else OF_A_GROUP_ON_A_CPU, own)
        return self._crew if jobs > 1 else None

    def _others(self, jobs: int) -> list[dict[str, str]]:
        """The environment of each process beside this one: its GPU, and its part of the CPU's threads and cores."""
        assert self.config is not None
        name = str(self.config.device.name)
        if self.processes is not None and self.processes > 1:
            if name.startswith("cuda") or (name == "auto" and gpus.visible()):
                raise UserError(
                    f"hydra.launcher.processes: found {self.processes}, expected null on GPUs, each of which has a "
                    f"process: {gpus.KEY}={self.processes}"
                )
            return [cores.environment_of(self.processes)] * (min(self.processes, jobs) - 1)
        if name not in ("auto", "cuda"):
            return []
        names = gpus.chosen(OmegaConf.select(self.config, gpus.KEY))
        if names:
            gpus.take(names)
            gpus.wake()
        names = names[:jobs]
        return [
            cores.environment_of(len(names), None if self.config.device.threads else number)
            | gpus.environment_of([one])
            for number, one in enumerate(names[1:], start=1)
        ]


class AutoLauncher(ReplicaLauncher):
    """Replicas in lock-step where that saves time, on CUDA; one job after the other, as Hydra does it, elsewhere."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Runs the jobs and returns what came of each, in their order."""
        crew = self._crew_for(len(job_overrides))  # before torch is imported here, which takes them as long
        if len(job_overrides) > 1 and (self.processes is not None or self._on_cuda()):
            return super().launch(job_overrides, initial_job_idx)
        if crew is not None:
            crew.dismiss()
            self._crew = None
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
        raise UserError(
            f"hydra/launcher=replicas: found the task {task.__name__} of {where}, expected that of python -m sweeper, "
            "whose jobs it trains together; use another launcher, say hydra/launcher=basic"
        )
