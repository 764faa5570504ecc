"""What the replica launcher does: set every job up, train those alike together, finish each by itself."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from hydra.core.utils import JobReturn, JobStatus, configure_log, filter_overrides, run_job, setup_globals
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from mdaf.hardware import cores
from mdaf.hydra_internals import returned
from mdaf.messages.logs import keep_traceback
from mdaf.messages.reporting import in_one_line, is_interruption, is_out_of_memory
from mdaf.multirun.launching.shares import shares
from mdaf.sweeper.hydra_ext import eta
from mdaf.sweeper.hydra_ext.configs.cache import ComposedOnce
from mdaf.sweeper.hydra_ext.run_config import is_hashed
from mdaf.sweeper.job.group import train_jobs
from mdaf.sweeper.job.identity import shown
from mdaf.sweeper.job.job import Job
from mdaf.sweeper.machine.device import make_current, return_cached_memory
from mdaf.sweeper.training.building import model_factory
from mdaf.sweeper.training.building.from_config import build_replicas, hyperparameters, settings
from mdaf.sweeper.training.memory import Capacity, Footprint, footprint, forget_peak, free_bytes, held_bytes, peak_bytes
from mdaf.sweeper.training.replicas import REPLICA_KEYS
from mdaf.sweeper.training.stepping.step import Stepper

if TYPE_CHECKING:
    from mdaf.multirun.launching.crew import Crew

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ComposedJob:
    """A job of a launch: its number, its overrides and its composed config."""

    number: int
    overrides: list[str]
    config: DictConfig


def launch(
    context: HydraContext,
    config: DictConfig,
    job_overrides: Sequence[Sequence[str]],
    first_number: int,
    max_replicas: int | None,
    crew: Crew | None = None,
) -> list[JobReturn]:
    """Runs a job for each list of overrides; results in that order. A job that fails has its error in its result.

    ``crew``  the processes that take a share of the jobs each; without any, all jobs run here.
    """
    begin(context, config)
    jobs = (_composed(context, config, one, first_number + index) for index, one in enumerate(job_overrides))
    if crew is None:
        return run_jobs(context, config, jobs, max_replicas)
    crew.check(context)
    composed = list(jobs)
    given = shares([kind_of(job) for job in composed], len(crew) + 1, crew.of_a_group)
    eta.share(len(given))

    with crew.ending_with_this(), ExitStack() as stack:

        def hand_out() -> None:
            crew.begin(context, config, [[composed[n] for n in share] for share in given[1:]], max_replicas)
            stack.enter_context(cores.bound(crew.own_cores))  # from here on: preparing the data uses all of them

        results = dict(zip(given[0], _run(context, config, composed, given[0], max_replicas, hand_out), strict=True))
        for share, returns in zip(given[1:], crew.results(), strict=True):
            results |= zip(share, returns, strict=True)
    return [results[index] for index in range(len(composed))]


def begin(context: HydraContext, config: DictConfig) -> None:
    """Prepares this process for the jobs of a launch."""
    setup_globals()
    _log_as_sweep(context, config)
    Path(str(config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)


def use_threads(count: int) -> None:
    """Computes on so many threads of the CPU."""
    torch.set_num_threads(count)


def _run(
    context: HydraContext,
    config: DictConfig,
    composed: Sequence[ComposedJob],
    share: Sequence[int],
    max_replicas: int | None,
    hand_out: Callable[[], None],
) -> list[JobReturn]:
    """This process's own share. The others begin when its first job is set up: then the data are prepared."""

    def each() -> Iterator[ComposedJob]:
        for place, number in enumerate(share):
            if place == 1:
                hand_out()
            yield composed[number]
        if len(share) == 1:
            hand_out()

    return run_jobs(context, config, each(), max_replicas)


def run_jobs(
    context: HydraContext, config: DictConfig, jobs: Iterable[ComposedJob], max_replicas: int | None
) -> list[JobReturn]:
    """Sets every job up, trains those alike together, and finishes each by itself; results in their order."""
    returns = [_set_up(context, config, job) for job in jobs]
    _log_as_sweep(context, config)
    ready = {index: returned(r) for index, r in enumerate(returns) if r.status is JobStatus.COMPLETED}
    capacity = Capacity(max(map(held_bytes, {job.device for job in ready.values()}), default=0))
    for group in groups(list(ready.values()), max_replicas):
        train_group(group, capacity)
    for index, job in ready.items():
        _finish(returns[index], job)
    _log_as_sweep(context, config)
    return returns


def groups(jobs: Sequence[Job], max_replicas: int | None) -> list[list[Job]]:
    """The groups of jobs that train in lock-step, each of ``max_replicas`` jobs at most; None: of any size.

    Groups are in the order of their first jobs. A job whose model is not trained by gradients has a group of its own.
    """
    alike: dict[str, list[Job]] = {}
    for index, job in enumerate(jobs):
        key = shape_of(job.cfg) if model_factory.by_gradient(job.cfg.model) else f"alone {index}"
        alike.setdefault(key, []).append(job)
    most = max_replicas or len(jobs)
    return [group[start : start + most] for group in alike.values() for start in range(0, len(group), most)]


def shape_of(cfg: DictConfig) -> str:
    """All of a job's config that replicas must have in common."""
    plain = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(plain, dict)
    shared = {str(key): value for key, value in plain.items() if is_hashed(str(key))}
    for key in (*REPLICA_KEYS.values(), "regularization.name"):
        *path, name = key.split(".")
        node = shared
        for part in path:
            node = node[part]
        node[name] = None
    return json.dumps(shared, sort_keys=True)


def kind_of(job: ComposedJob) -> str:
    """What jobs have in common that are trained in one group, as far as their configs say it."""
    try:
        alike = OmegaConf.masked_copy(job.config, [str(key) for key in job.config if key != "hydra"])
        return shape_of(alike) if model_factory.by_gradient(alike.model) else f"alone {job.number}"
    except OmegaConfBaseException:  # a value that only the job itself can tell
        return f"alone {job.number}"


def _composed(context: HydraContext, config: DictConfig, overrides: Sequence[str], number: int) -> ComposedJob:
    loader = context.config_loader
    taken = loader.take if isinstance(loader, ComposedOnce) else loader.load_sweep_config
    composed = taken(config, list(overrides))
    with open_dict(composed):
        composed.hydra.job.id = str(number)
        composed.hydra.job.num = number
    return ComposedJob(number, list(overrides), composed)


def _set_up(context: HydraContext, config: DictConfig, job: ComposedJob) -> JobReturn:
    """Hydra's own job, whose task is to become ready to train: the result's value is a ``Job``."""
    _log_as_sweep(context, config)
    log.info("\t#%d : %s", job.number, " ".join(filter_overrides(job.overrides)))
    return run_job(
        hydra_context=context,
        task_function=Job,
        config=job.config,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )


def train_group(group: list[Job], capacity: Capacity) -> None:
    """Trains a group, as many at a time as fit the device's memory."""
    make_current(group[0].device)  # the job that was set up last may have had another
    left = list(group)
    while left:
        if len(left) == 1:
            _try(left)
            return
        one = footprint_of(left[0])
        free = free_bytes(left[0].device)
        count = capacity.of(one, free, len(left))
        now, left = left[:count], left[count:]
        if len(now) > 1:
            log.info("Training %d jobs in lock-step", len(now))
        forget_peak(now[0].device)
        if _try(now):
            capacity.learn(one, len(now), peak_bytes(now[0].device))
            continue
        log.warning("%d replicas do not fit the device's memory: training fewer at a time", len(now))
        capacity.overflowed(one, len(now), free)
        for job in now:
            job.recorder.restart()
        left = [*now, *left]


def _try(group: list[Job]) -> bool:
    """Trains a group; False if memory ran out and fewer jobs may fit. Each job keeps any other error."""
    try:
        train_jobs(group)
    except Exception as error:
        if is_out_of_memory(error) and len(group) > 1:
            return_cached_memory(group[0].device)
            return False
        for job in group:
            job.recorder.failed(error)
    return True


def footprint_of(job: Job) -> Footprint:
    """The memory that one replica of the job's group needs."""
    cfg, device = job.cfg, job.device
    replica = build_replicas(cfg, job.store, [hyperparameters(cfg)], device, drawn=False)
    chosen = settings(cfg, device)
    Stepper(replica, job.gathered, chosen.step).rehearse(
        chosen.training.batch_size
    )  # what is measured asks for kernels too
    return footprint(replica, job.gathered, chosen)


def _finish(result: JobReturn, job: Job) -> None:
    """Turns the result of setting a job up into that of having run it."""
    try:
        with job:
            try:
                result.return_value = job.finish()
            except Exception as error:
                _log_failure(job, error)
                raise
    except Exception as error:
        result.status = JobStatus.FAILED
        result.return_value = error


def _log_failure(job: Job, error: Exception) -> None:
    """Says in the job's own log why it failed. Of a trial the sweep says it; of an interrupted job nobody does."""
    if job.trial is None and not is_interruption(error):
        with job.log.active():
            log.error("%s: %s", shown(job.recorder.folder.path), in_one_line(error) or repr(error))
            keep_traceback(error)


def _log_as_sweep(context: HydraContext, config: DictConfig) -> None:
    configure_log(config.hydra.hydra_logging, config.hydra.verbose, execution_whitelist=context.execution_whitelist)
