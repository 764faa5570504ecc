"""Groups of jobs that train in lock-step: they start, resume and fall back to the CPU together.

``run`` trains a group of one job; ``mdaf.multirun.launching`` trains several.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from omegaconf import DictConfig
from torch import Tensor

from mdaf.conf.schema import Guard
from mdaf.data.store.device_store import DeviceStore
from mdaf.errors import UserError
from mdaf.model.ctr import Estimator
from mdaf.model.kernels.compiling import compilation
from mdaf.processes.interruption import Interruption
from mdaf.sweeper.hydra_ext import eta
from mdaf.sweeper.job.job import Job
from mdaf.sweeper.job.resuming import epoch_of, is_over, lock_step_groups, restore, states_of, take_over
from mdaf.sweeper.machine.device import describe, set_up
from mdaf.sweeper.machine.hang_watch import HangWatch
from mdaf.sweeper.machine.watchdog import FallBack, Watchdog
from mdaf.sweeper.runs.checkpoint import START, PartialEpoch, Position, Saved
from mdaf.sweeper.runs.metric_columns import EpochMetrics
from mdaf.sweeper.training.building import model_factory
from mdaf.sweeper.training.building.from_config import build_replicas, hyperparameters, settings
from mdaf.sweeper.training.fitted import fit
from mdaf.sweeper.training.loop import EpochState, orders_of, train
from mdaf.sweeper.training.replicas import Replicas, Trained
from mdaf.sweeper.training.settings import LoopSettings

log = logging.getLogger(__name__)


def train_jobs(jobs: Sequence[Job]) -> None:
    """Trains jobs as replicas in one loop. Their configs may differ only in ``REPLICA_KEYS``.

    If one job fails, its recorder keeps the exception, and the job raises it when it is finished.
    """
    try:
        _train(jobs)
    except BaseException as error:
        if not isinstance(error, Exception):  # an interruption, after which nobody finishes the jobs of a lock-step
            for job in jobs:
                if job.recorder.tracked is not None:
                    job.recorder.tracked.ended_by(error)
        raise


def _train(jobs: Sequence[Job]) -> None:
    cfg, device, store = jobs[0].cfg, jobs[0].device, jobs[0].store
    gathered = jobs[0].gathered
    del jobs[0].gathered  # freed with this group: the next group needs the device's memory
    training_settings = settings(cfg, device)
    if not model_factory.by_gradient(cfg.model):
        [job] = jobs
        estimator = model_factory.builder(cfg.model, store.schema)()
        assert isinstance(estimator, Estimator)
        if Ready(job, job.states()).is_over(training_settings):
            return
        announce("no parameters to train", job)
        job.recorder.restart()
        job.recorder.folder.clear()  # a fitted model cannot be resumed
        fit(estimator, gathered, training_settings, hyperparameters(cfg), job.recorder)
        return
    ready = [Ready(job, job.states()) for job in jobs]
    for position, group in lock_step_groups([r for r in ready if not r.is_over(training_settings)], lambda r: r.states):
        _train_group(group, position, gathered, training_settings)


@dataclass
class Ready:
    """A job and the checkpoints from which it can resume, by position."""

    job: Job
    states: dict[Position, Saved]

    def is_over(self, settings: LoopSettings) -> bool:
        """Whether nothing is left to train. Loads the latest checkpoint's history into the recorder."""
        if not self.states:
            return False
        latest = self.states[max(self.states)]
        with self.job.log.active():
            take_over(self.job.recorder, latest)
        over = is_over(latest, self.job.recorder, settings)
        if over:
            eta.already_there()
        return over


def _train_group(
    ready: Sequence[Ready],
    position: Position,
    gathered: DeviceStore,
    training_settings: LoopSettings,
    on_fallback: Guard | None = None,
) -> None:
    """Trains jobs in lock-step from ``position``. ``on_fallback`` is the guard of jobs that fell back to the CPU."""
    jobs = [r.job for r in ready]
    cfg, device = jobs[0].cfg, gathered.device
    values = [hyperparameters(job.cfg) for job in jobs]
    orders = orders_of(gathered, training_settings)
    orders.begin([one.seed for one in values], position.epoch)  # on the CPU, while the replicas are built
    replicas = build_replicas(cfg, jobs[0].store, values, device)
    _refuse_cut_batches(cfg, replicas)
    _announce_all(jobs, replicas)
    start = _begin(ready, position, replicas, fell_back=on_fallback is not None)
    histories = [list(job.recorder.history) for job in jobs]
    guard = Guard(**cfg.device.guard) if on_fallback is None else on_fallback
    with Interruption() as interruption, HangWatch(guard.hang, jobs[0].recorder.folder.path) as hang:
        watchdog = Watchdog(interruption, guard, hang, device, lambda record: _keep(record, jobs))
        epochs = eta.Group(len(jobs), cfg.training.epochs, compilation.seconds, same_runs=on_fallback is not None)
        callbacks = [_LoggedRecorder(job, epochs) for job in jobs]
        try:
            train(
                replicas,
                gathered,
                training_settings,
                callbacks,
                start=start,
                histories=histories,
                watch=watchdog,
                orders=orders,
            )
            return
        except FallBack:
            left = [jobs[number] for number in replicas.numbers]
        finally:
            for job in jobs:
                job.recorder.progress.close()  # restores the terminal, however the loop ended
    del replicas  # frees the device's memory
    _on_cpu(left, replace(guard, action="warn"))


def _announce_all(jobs: Sequence[Job], replicas: Replicas) -> None:
    """Logs what begins in each job's log; one of them shows its progress."""
    parameters = sum(p.numel() for p in replicas.model.parameters()) // len(replicas)
    in_step = f", one of {len(jobs)} replicas in lock-step" if len(jobs) > 1 else ""
    for job in jobs:
        announce(f"{parameters:,} parameters{in_step}", job)
    for job in jobs[1:]:
        job.recorder.progress.hide()


def _refuse_cut_batches(cfg: DictConfig, replicas: Replicas) -> None:
    """UserError for micro-batches of a model whose gradient is another one there. They may change rounding alone."""
    size = cfg.device.micro_batch
    if size is not None and size < cfg.training.batch_size and not replicas.separable:
        raise UserError(
            f"device.micro_batch={size}: this model learns otherwise from a batch in pieces (separable is False: "
            "normalization over the batch, dropout, or a loss of several parts); leave it out, or lower "
            "training.batch_size"
        )


def _keep(slow_down: dict[str, Any], jobs: Sequence[Job]) -> None:
    for job in jobs:
        job.recorder.slow_downs.append(slow_down)


def _on_cpu(jobs: Sequence[Job], guard: Guard) -> None:
    """Resumes jobs on the CPU from the checkpoints that they have just saved."""
    cfg = copy.deepcopy(jobs[0].cfg)
    cfg.device.name, cfg.device.precision = "cpu", "fp32"
    device = set_up(cfg.device)
    gathered = DeviceStore(jobs[0].store, device, cfg.device.memory_fraction, cfg.data.history_order)
    for job in jobs:
        job.recorder.identity |= {"device": describe(device), "precision": cfg.device.precision}
    ready = [Ready(job, states_of(job.recorder)) for job in jobs]
    for position, group in lock_step_groups(ready, lambda r: r.states):
        _train_group(group, position, gathered, settings(cfg, device), guard)


def _begin(ready: Sequence[Ready], position: Position, replicas: Replicas, *, fell_back: bool) -> EpochState:
    """Loads the checkpoints of ``position``, if there are any, into replicas and recorders; the epoch's state there.

    The checkpoints are given up: they take as much memory as the replicas.
    """
    states = [r.states[position] for r in ready if r.states]
    for r in ready:
        r.states.clear()
    if not states:
        return EpochState(START.epoch)
    restore(replicas, states)
    for job, state in zip([r.job for r in ready], states, strict=True):
        with job.log.active():
            take_over(job.recorder, state)
            at = state.position
            log.info("going on in epoch %d after step %d", at.epoch, at.step)
            job.recorder.begin_part(at, fell_back=fell_back)
    return epoch_of(states, replicas)


class _LoggedRecorder:
    """Calls a job's recorder and sends its messages to the job's own log."""

    def __init__(self, job: Job, epochs: eta.Group) -> None:
        self.job, self.epochs = job, epochs

    def step(self, epoch: int, step: int, steps: int, loss: Tensor) -> None:
        self.job.recorder.step(epoch, step, steps, loss)

    def epoch(self, row: EpochMetrics, replicas: Trained, k: int, *, saves: bool) -> bool:
        with self.job.log.active():
            stops = self.job.recorder.epoch(row, replicas, k, saves=saves)
            if said := self.epochs.after_epoch(row["epoch"], row["epoch_seconds"], compilation.seconds):
                log.info(said)
            return stops

    def save(self, position: Position, partial_epoch: PartialEpoch | None, replicas: Replicas, k: int) -> None:
        self.job.recorder.save(position, partial_epoch, replicas, k)

    def wait(self) -> None:
        self.job.recorder.wait()

    def failed(self, error: Exception) -> None:
        self.job.recorder.failed(error)


def announce(size: str, job: Job) -> None:
    """Logs the model, the device, the data and the run's size once, and begins the run at its tracker."""
    with job.log.active():
        if job.recorder.tracked is not None:
            job.recorder.tracked.begin()
        log.info(
            "%s on %s: %s; %s training rows, %s validation rows of %s",
            job.recorder.identity["model"],
            describe(job.device),
            size,
            f"{len(job.store.samples['train']):,}",
            f"{len(job.store.samples['validation']):,}",
            job.store.folder,
            extra=job.log.common,
        )
