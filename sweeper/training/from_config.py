"""From a job's config to what the training loop takes: hyperparameters, settings, models."""

from __future__ import annotations

import torch
from omegaconf import DictConfig, OmegaConf

from mdaf.data.store.event_store import EventStore
from mdaf.sweeper.machine.device import choose_precision
from mdaf.sweeper.training import model_factory
from mdaf.sweeper.training.initialization import undrawn
from mdaf.sweeper.training.microbatches import default_positions
from mdaf.sweeper.training.optim.replica_optimizers import Update
from mdaf.sweeper.training.replicas import REPLICA_KEYS, Hyperparameters, Replicas
from mdaf.sweeper.training.settings import Settings
from mdaf.sweeper.training.step import StepSettings


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
    build = model_factory.builder(cfg.model, store.schema)
    return Replicas(build if drawn else undrawn(build), replicas, update, device)
