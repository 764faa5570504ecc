"""One trainable objective from one config: check, prepare, train, leave the artifacts, return the best AUC."""

from __future__ import annotations

import copy
import json
import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from data.batches import DeviceStore
from data.keys import check_keys
from data.prepare import prepare_config
from data.progress import shown as shown_progress
from data.store import EventStore
from model.ctr import Estimator
from sweeper import artifacts, models, provenance
from sweeper.attributes import MICRO_BATCH
from sweeper.checkpoint import START, Position, Saved, Underway
from sweeper.config import config_hash, validate
from sweeper.device import choose_precision, default_positions, describe, set_up
from sweeper.directories import work_where_it_was_typed
from sweeper.estimate import after_first_epoch, already_there
from sweeper.estimator import fit
from sweeper.hang import HangWatch
from sweeper.initial import undrawn
from sweeper.interruption import Interruption
from sweeper.lock import locked
from sweeper.monitor import FallBack, Guard, Lookout
from sweeper.own_config import OwnConfig
from sweeper.progress import EpochProgress
from sweeper.recorder import Recorder
from sweeper.replicas import REPLICA_KEYS, Hyperparameters, Replicas, Update
from sweeper.resuming import adopt, epoch_of, is_over, restore, states_of, together
from sweeper.run_files import check_unfinished
from sweeper.run_folder import RunFolder
from sweeper.step import StepSettings
from sweeper.summary import Criteria
from sweeper.training import Epoch, Row, Settings, best_of, train

if TYPE_CHECKING:
    from sweeper.trial import TrialLink

log = logging.getLogger(__name__)


class Job:
    """A run between being set up and being finished; in between it is trained, alone or in lock-step with others.

    Made inside its Hydra job; ``with`` closes its link to its trial, which records what made it fail.
    """

    def __init__(self, cfg: DictConfig) -> None:
        work_where_it_was_typed()
        with ExitStack() as stack:
            self.trial: TrialLink | None = stack.enter_context(attached(cfg) or nullcontext())
            check_keys(cfg, HydraConfig.get())
            validate(cfg)
            self.cfg = cfg
            self.device = set_up(cfg.device) if models.by_gradient(cfg.model) else torch.device("cpu")
            with shown_progress() as progress:
                self.store = prepare_config(cfg.data, progress)
            self.recorder = self._recorder(stack)
            self._handlers = list(logging.getLogger().handlers)
            self._stack = stack.pop_all()

    def __enter__(self) -> Job:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, traceback)

    def finish(self) -> float | tuple[float, ...]:
        """Leaves the last artifacts and returns the objective; raises what ended the run otherwise."""
        with self.speaking():
            self.own_config.restore()
            value = self.recorder.finish()
            best = self.recorder.best["val_auc"] if self.recorder.best else math.nan
            folder = shown(self.recorder.folder.path)
            log.info("best validation AUC %.4f; everything about this run lies in %s", best, folder)
        return value

    @contextmanager
    def speaking(self) -> Iterator[None]:
        """Within it, what is logged goes where this job's log goes, although other jobs have begun since."""
        root = logging.getLogger()
        others, root.handlers = root.handlers, self._handlers
        try:
            yield
        finally:
            root.handlers = others

    @cached_property
    def gathered(self) -> DeviceStore:
        """The store on the job's device."""
        device = self.cfg.device
        return DeviceStore(self.store, self.device, device.memory_fraction, self.cfg.data.history_order)

    def states(self) -> dict[Position, Saved]:
        """The states from which the run can go on; none where it starts anew, and then nothing of another is left."""
        folder, identity = self.recorder.folder, self.recorder.identity
        if self.cfg.resume == "never":
            folder.clear()
            return {}
        if self.trial is not None:
            adopt(folder, self.trial.earlier_folders(folder.path), identity["config_hash"], identity["data_hash"])
        found = states_of(self.recorder)
        if not found:
            folder.clear()
        return found

    def _recorder(self, stack: ExitStack) -> Recorder:
        cfg = self.cfg
        folder = RunFolder(HydraConfig.get().runtime.output_dir)
        stack.enter_context(locked(folder.path))
        self.own_config = OwnConfig(cfg, folder.path)
        self.own_config.restore()
        if cfg.resume == "never":
            check_unfinished(folder.path)
        identity = identify(cfg, self.store, self.device)
        if self.trial is not None:
            record_start(self.trial, cfg, identity, folder, self.device)
            if cfg.sweep.artifacts:
                url = artifacts.url_of(cfg.sweep.artifacts, self.trial.study_name, self.trial.number)
                artifacts.check(url)
                self.trial.record({artifacts.ARTIFACTS: url})
                stack.callback(artifacts.leave, folder.path, url)  # however the job ends
        return Recorder(
            folder,
            identity,
            Criteria(**OmegaConf.to_container(cfg.criteria)),  # type: ignore[arg-type]
            cfg.training.epochs,
            EpochProgress(cfg.training.epochs, cfg.training.batch_size),
            self.trial,
            cfg.sweep.objectives,
        )


def run(cfg: DictConfig) -> float | tuple[float, ...]:
    """Runs one job inside Hydra and returns its objective, the best epoch's validation AUC.

    Raises UserError before any work if the config cannot be run, ``optuna.TrialPruned`` if its study stopped it.
    """
    with Job(cfg) as job:
        train_jobs([job])
        return job.finish()


def train_jobs(jobs: Sequence[Job]) -> None:
    """Trains jobs that differ in nothing but ``REPLICA_KEYS`` as replicas in one loop; each recorder follows its own.

    What ends one job is kept by its recorder and raised when the job is finished.
    """
    cfg, device, store = jobs[0].cfg, jobs[0].device, jobs[0].store
    gathered = jobs[0].gathered
    del jobs[0].gathered  # it goes with this group: the next one needs the device's memory
    chosen = settings(cfg, device)
    if not models.by_gradient(cfg.model):
        [job] = jobs
        estimator = models.builder(cfg.model, store.schema)()
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
        with self.job.speaking():
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
        speaking = [_Speaking(job, len(jobs)) for job in jobs]
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
        with job.speaking():
            job.recorder.go_on(state)
            at = state.position
            log.info("going on in epoch %d after step %d", at.epoch, at.step)
            job.recorder.begin_part(at, fell_back=fell_back)
    return epoch_of(states, replicas)


class _Speaking:
    """A job's recorder as a follower, whose words go to the job's own log."""

    def __init__(self, job: Job, together: int) -> None:
        self.job, self.together = job, together

    def step(self, epoch: int, step: int, steps: int, loss: Tensor) -> None:
        self.job.recorder.step(epoch, step, steps, loss)

    def epoch(self, row: Row, replicas: Replicas, k: int) -> bool:
        with self.job.speaking():
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
    with job.speaking():
        log.info(
            "%s on %s: %s; %s training rows, %s validation rows of %s",
            job.recorder.identity["model"],
            describe(job.device),
            size,
            f"{len(job.store.samples['train']):,}",
            f"{len(job.store.samples['validation']):,}",
            job.store.folder,
        )


def attached(cfg: DictConfig) -> TrialLink | None:
    """The job's link to its trial; None where it runs for no study, and then no database's drivers are imported."""
    if cfg.sweep.trial is None:
        return None
    from sweeper.trial import attach

    return attach(cfg)


def hyperparameters(cfg: DictConfig) -> Hyperparameters:
    """What this config's replica has for itself."""
    return Hyperparameters(**{name: OmegaConf.select(cfg, key) for name, key in REPLICA_KEYS.items()})


def settings(cfg: DictConfig, device: torch.device) -> Settings:
    """The training loop's settings: the ``training`` group, and the micro-batch that suits the device."""
    own = ("learning_rate", "decay", "grad_clip_norm", "embedding_optimizer")
    shared = {name: cfg.training[name] for name in cfg.training if name not in own}
    step = StepSettings(
        cfg.training.grad_clip_norm,
        cfg.device.micro_batch,
        choose_precision(cfg.device.precision, device),
        cfg.device.graphs,
        default_positions(device),
    )
    return Settings(**shared, step=step, bucketing=cfg.data.bucketing)


def build_replicas(
    cfg: DictConfig, store: EventStore, replicas: list[Hyperparameters], device: torch.device, *, drawn: bool = True
) -> Replicas:
    """The model that the config names, for the store's schema, once for each replica.

    Unless ``drawn``, what is drawn at random is zero: for those who load weights or look at shapes alone.
    """
    update = Update(cfg.training.decay, cfg.training.embedding_optimizer)
    build = models.builder(cfg.model, store.schema)
    return Replicas(build if drawn else undrawn(build), replicas, update, device)


def identify(cfg: DictConfig, store: EventStore, device: torch.device) -> dict[str, Any]:
    """What the run is: enough to find it again and to say when two runs computed the same thing."""
    choices = HydraConfig.get().runtime.choices
    return {
        "config_hash": config_hash(cfg),
        "data_hash": store.data_hash,
        "commit": provenance.commit(),
        "seed": cfg.seed,
        "model": choices.get("model"),
        "data": choices.get("data"),
        "regularization": cfg.regularization.name,
        "dropout": cfg.regularization.dropout,
        "weight_decay": cfg.regularization.weight_decay,
        "label_smoothing": cfg.regularization.label_smoothing,
        "learning_rate": cfg.training.learning_rate,
        "batch_size": cfg.training.batch_size,
        "experiment": cfg.experiment,
        "device": describe(device),
        "precision": choose_precision(cfg.device.precision, device),
        "study": cfg.sweep.study,
        "trial": cfg.sweep.trial,
        "store": shown(store.folder),
        "versions": provenance.versions(),
    }


def record_start(
    trial: TrialLink, cfg: DictConfig, identity: dict[str, Any], folder: RunFolder, device: torch.device
) -> None:
    """Checks that the trial's point and data are what will be trained, and writes what is known before training."""
    from sweeper.agreement import agree_on_data  # Optuna, which only a job of a study needs

    choices = HydraConfig.get().runtime.choices
    effective = trial.check_parameters(cfg, choices)
    if not any(name == "data" or name.startswith("data.") for name in effective):
        agree_on_data(trial.study, identity["data_hash"], force=cfg.sweep.force)
    trial.record(
        {
            "run_dir": shown(folder.path),
            **{name: identity[name] for name in ("config_hash", "data_hash", "commit", "seed", "device")},
            "versions": json.dumps(identity["versions"], sort_keys=True),
            "effective": effective,
            MICRO_BATCH: settings(cfg, device).step.micro_batch or cfg.training.batch_size,
        }
    )


def shown(path: str | Path) -> str:
    """A path as people type it: relative where it lies below the current directory."""
    absolute = Path(path).absolute()
    here = Path.cwd()
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else str(absolute)
