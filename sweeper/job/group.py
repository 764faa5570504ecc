"""Jobs that train in lock-step as one group: going on together, falling back together."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from mdaf.data.store.device_store import DeviceStore
from mdaf.interruption import Interruption
from mdaf.model.ctr import Estimator
from mdaf.sweeper.hydra_ext.eta import after_first_epoch, already_there
from mdaf.sweeper.job.job import Job
from mdaf.sweeper.job.resuming import epoch_of, is_over, restore, states_of, together
from mdaf.sweeper.machine.device import describe, set_up
from mdaf.sweeper.machine.hang_watch import HangWatch
from mdaf.sweeper.machine.watchdog import FallBack, Guard, Lookout
from mdaf.sweeper.runs.checkpoint import START, Position, Saved, Underway
from mdaf.sweeper.training import model_factory
from mdaf.sweeper.training.fitted import fit
from mdaf.sweeper.training.from_config import build_replicas, hyperparameters, settings
from mdaf.sweeper.training.loop import Epoch, best_of, train
from mdaf.sweeper.training.replicas import Replicas, Trained
from mdaf.sweeper.training.settings import Row, Settings

log = logging.getLogger(__name__)


def train_jobs(jobs: Sequence[Job]) -> None:
    """Trains jobs that differ in nothing but ``REPLICA_KEYS`` as replicas in one loop; each recorder follows its own.

    What ends one job is kept by its recorder and raised when the job is finished.
    """
    cfg, device, store = jobs[0].cfg, jobs[0].device, jobs[0].store
    gathered = jobs[0].gathered
    del jobs[0].gathered  # it goes with this group: the next one needs the device's memory
    chosen = settings(cfg, device)
    if not model_factory.by_gradient(cfg.model):
        [job] = jobs
        estimator = model_factory.builder(cfg.model, store.schema)()
        assert isinstance(estimator, Estimator)
        if Ready(job, job.states()).is_over(chosen):
            return
        announce("no parameters to train", job)
        job.recorder.restart()
        job.recorder.folder.clear()  # fitted in one go: there is nothing to go on from
        fit(estimator, gathered, chosen, hyperparameters(cfg), job.recorder)
        return
    ready = [Ready(job, job.states()) for job in jobs]
    for position, group in together([r for r in ready if not r.is_over(chosen)], lambda r: r.states):
        _train_group(group, position, gathered, chosen)


@dataclass
class Ready:
    """A job and the states from which it can go on."""

    job: Job
    states: dict[Position, Saved]

    def is_over(self, settings: Settings) -> bool:
        """Whether nothing is left to train; then the recorder has taken up what was."""
        if not self.states:
            return False
        newest = self.states[max(self.states)]
        with self.job.log.speaking():
            self.job.recorder.go_on(newest)
        over = is_over(newest, self.job.recorder, settings)
        if over:
            already_there()
        return over


def _train_group(
    ready: Sequence[Ready],
    position: Position,
    gathered: DeviceStore,
    chosen: Settings,
    on_fallback: Guard | None = None,
) -> None:
    """Trains jobs in lock-step from the position that they share; ``on_fallback`` guards those that were moved here."""
    jobs = [r.job for r in ready]
    cfg, device = jobs[0].cfg, gathered.device
    replicas = build_replicas(cfg, jobs[0].store, [hyperparameters(job.cfg) for job in jobs], device)
    parameters = sum(p.numel() for p in replicas.model.parameters()) // len(replicas)
    in_step = f", one of {len(jobs)} replicas in lock-step" if len(jobs) > 1 else ""
    for job in jobs:
        announce(f"{parameters:,} parameters{in_step}", job)
    for job in jobs[1:]:
        job.recorder.progress.hide()
    start = Epoch(START.epoch)
    states = [r.states[position] for r in ready if r.states]
    if states:
        start = _go_on(jobs, states, replicas, fell_back=on_fallback is not None)
    best = [best_of(job.recorder.history) for job in jobs]
    for r in ready:
        r.states.clear()  # they take as much memory as the replicas themselves
    del states
    guard = Guard(**cfg.device.guard) if on_fallback is None else on_fallback
    with Interruption() as interruption, HangWatch(guard.hang, jobs[0].recorder.folder.path) as hang:
        lookout = Lookout(interruption, guard, hang, device, lambda record: _keep(record, jobs))
        speaking = [_LoggedRecorder(job, len(jobs)) for job in jobs]
        try:
            train(replicas, gathered, chosen, speaking, start=start, best=best, watch=lookout)
            return
        except FallBack:
            left = [jobs[number] for number in replicas.numbers]
        finally:
            for job in jobs:
                job.recorder.progress.close()  # a terminal is left as it was, whatever ended the loop
    del replicas  # the device's memory with it
    _on_cpu(left, replace(guard, action="warn"))


def _keep(slow_down: dict[str, Any], jobs: Sequence[Job]) -> None:
    for job in jobs:
        job.recorder.slow_downs.append(slow_down)


def _on_cpu(jobs: Sequence[Job], guard: Guard) -> None:
    """Goes on with jobs that have just been saved, on the CPU."""
    cfg = copy.deepcopy(jobs[0].cfg)
    cfg.device.name, cfg.device.precision = "cpu", "fp32"
    device = set_up(cfg.device)
    gathered = DeviceStore(jobs[0].store, device, cfg.device.memory_fraction, cfg.data.history_order)
    for job in jobs:
        job.recorder.identity |= {"device": describe(device), "precision": cfg.device.precision}
    ready = [Ready(job, states_of(job.recorder)) for job in jobs]
    for position, group in together(ready, lambda r: r.states):
        _train_group(group, position, gathered, settings(cfg, device), guard)


def _go_on(jobs: Sequence[Job], states: Sequence[Saved], replicas: Replicas, *, fell_back: bool) -> Epoch:
    """Puts replicas and recorders where the states were saved."""
    restore(replicas, states)
    for job, state in zip(jobs, states, strict=True):
        with job.log.speaking():
            job.recorder.go_on(state)
            at = state.position
            log.info("going on in epoch %d after step %d", at.epoch, at.step)
            job.recorder.begin_part(at, fell_back=fell_back)
    return epoch_of(states, replicas)


class _LoggedRecorder:
    """A job's recorder, whose messages go to the job's own log."""

    def __init__(self, job: Job, together: int) -> None:
        self.job, self.together = job, together

    def step(self, epoch: int, step: int, steps: int, loss: Tensor) -> None:
        self.job.recorder.step(epoch, step, steps, loss)

    def epoch(self, row: Row, replicas: Trained, k: int) -> bool:
        with self.job.log.speaking():
            stops = self.job.recorder.epoch(row, replicas, k)
            if whole := after_first_epoch(
                row["epoch_seconds"], row["epoch"], self.job.cfg.training.epochs, self.together
            ):
                log.info(whole)
            return stops

    def save(self, position: Position, underway: Underway, replicas: Replicas, k: int) -> None:
        self.job.recorder.save(position, underway, replicas, k)

    def failed(self, error: Exception) -> None:
        self.job.recorder.failed(error)


def announce(size: str, job: Job) -> None:
    """Says once what is trained, on what, and where."""
    with job.log.speaking():
        log.info(
            "%s on %s: %s; %s training rows, %s validation rows of %s",
            job.recorder.identity["model"],
            describe(job.device),
            size,
            f"{len(job.store.samples['train']):,}",
            f"{len(job.store.samples['validation']):,}",
            job.store.folder,
        )
