"""One trainable objective from one config: check, prepare, train, leave the artifacts, return the best AUC."""

from __future__ import annotations

import json
import logging
import math
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from data.batches import DeviceStore
from data.prepare import prepare_config
from data.progress import shown as shown_progress
from data.store import EventStore
from model.ctr import Estimator
from sweeper import models, provenance
from sweeper.agreement import agree_on_data
from sweeper.attributes import MICRO_BATCH
from sweeper.config import config_hash, validate
from sweeper.device import choose_precision, default_micro_batch, describe, set_up
from sweeper.estimator import fit
from sweeper.progress import EpochProgress
from sweeper.recorder import Recorder
from sweeper.replicas import Hyperparameters, Replicas, Update
from sweeper.run_folder import RunFolder
from sweeper.step import StepSettings
from sweeper.summary import Criteria
from sweeper.training import Settings, train
from sweeper.trial import TrialLink, attach

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> float | tuple[float, ...]:
    """Runs one job inside Hydra and returns its objective, the best epoch's validation AUC.

    Raises UserError before any work if the config cannot be run, ``optuna.TrialPruned`` if its study stopped it.
    """
    with attach(cfg) or nullcontext() as trial:
        return _run(cfg, trial)


def _run(cfg: DictConfig, trial: TrialLink | None) -> float | tuple[float, ...]:
    validate(cfg)
    trained = models.by_gradient(cfg.model)
    device = set_up(cfg.device) if trained else torch.device("cpu")
    with shown_progress() as progress:
        store = prepare_config(cfg.data, progress)
    folder = RunFolder(HydraConfig.get().runtime.output_dir)
    identity = identify(cfg, store, device)
    if trial is not None:
        record_start(trial, cfg, identity, folder, device)
    recorder = Recorder(
        folder,
        identity,
        Criteria(**OmegaConf.to_container(cfg.criteria)),  # type: ignore[arg-type]
        cfg.training.epochs,
        EpochProgress(cfg.training.epochs, cfg.training.batch_size),
        trial,
        cfg.sweep.objectives,
    )
    gathered = DeviceStore(store, device, cfg.device.memory_fraction, cfg.data.history_order)
    if trained:
        replicas = build_replicas(cfg, store, [hyperparameters(cfg)], device)
        parameters = sum(p.numel() for p in replicas.model.parameters()) // len(replicas)
        announce(f"{parameters:,} parameters", device, store)
        train(replicas, gathered, settings(cfg, device), [recorder])
    else:
        estimator = models.builder(cfg.model, store.schema)()
        assert isinstance(estimator, Estimator)
        announce("no parameters to train", device, store)
        fit(estimator, gathered, settings(cfg, device), hyperparameters(cfg), recorder)
    value = recorder.finish()
    best = recorder.best["val_auc"] if recorder.best else math.nan
    log.info("best validation AUC %.4f; everything about this run lies in %s", best, shown(folder.path))
    return value


def announce(size: str, device: torch.device, store: EventStore) -> None:
    """Says once what is trained, on what, and where."""
    log.info(
        "%s on %s: %s; %s training rows, %s validation rows of %s",
        HydraConfig.get().runtime.choices.get("model"),
        describe(device),
        size,
        f"{len(store.samples['train']):,}",
        f"{len(store.samples['validation']):,}",
        store.folder,
    )


def hyperparameters(cfg: DictConfig) -> Hyperparameters:
    """What this config's replica has for itself."""
    return Hyperparameters(
        seed=cfg.seed,
        dropout=cfg.regularization.dropout,
        weight_decay=cfg.regularization.weight_decay,
        label_smoothing=cfg.regularization.label_smoothing,
        learning_rate=cfg.training.learning_rate,
        embedding_l2=cfg.regularization.embedding_l2,
        reinit_embeddings=cfg.regularization.reinit_embeddings,
    )


def settings(cfg: DictConfig, device: torch.device) -> Settings:
    """The training loop's settings: the ``training`` group, and the micro-batch that suits the device."""
    own = ("learning_rate", "decay", "grad_clip_norm", "embedding_optimizer")
    shared = {name: cfg.training[name] for name in cfg.training if name not in own}
    step = StepSettings(
        cfg.training.grad_clip_norm,
        cfg.device.micro_batch or default_micro_batch(device),
        choose_precision(cfg.device.precision, device),
        cfg.device.graphs,
    )
    return Settings(**shared, step=step, bucketing=cfg.data.bucketing)


def build_replicas(
    cfg: DictConfig, store: EventStore, replicas: list[Hyperparameters], device: torch.device
) -> Replicas:
    """The model that the config names, for the store's schema, once for each replica."""
    update = Update(cfg.training.decay, cfg.training.embedding_optimizer)
    return Replicas(models.builder(cfg.model, store.schema), replicas, update, device)


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
