"""Makes hyperparameters, settings and replicas for the training loop from a job's config."""

from __future__ import annotations

import torch
from omegaconf import DictConfig, OmegaConf

from mdaf.conf.schema import Training
from mdaf.data.store.event_store import EventStore
from mdaf.sweeper.machine.device import choose_precision
from mdaf.sweeper.training.building import model_factory
from mdaf.sweeper.training.building.initialization import undrawn
from mdaf.sweeper.training.optim.replica_optimizers import Update
from mdaf.sweeper.training.replicas import REPLICA_KEYS, Hyperparameters, Replicas
from mdaf.sweeper.training.settings import LoopSettings
from mdaf.sweeper.training.stepping.losses import loss_of
from mdaf.sweeper.training.stepping.microbatches import default_positions
from mdaf.sweeper.training.stepping.step import StepSettings


def hyperparameters(cfg: DictConfig) -> Hyperparameters:
    """The hyperparameters of the config's replica."""
    given = {name: OmegaConf.select(cfg, key) for name, key in REPLICA_KEYS.items()}
    optional = ("positive_weight", "focal_gamma")  # which null, and configs of earlier versions, leave at the default
    return Hyperparameters(**{name: value for name, value in given.items() if not (value is None and name in optional)})


def settings(cfg: DictConfig, device: torch.device) -> LoopSettings:
    """The settings of the training loop, from the groups ``training``, ``device`` and ``data``."""
    training = Training(**OmegaConf.to_container(cfg.training, resolve=True))  # type: ignore[arg-type]
    step = StepSettings(
        training.grad_clip_norm,
        cfg.device.micro_batch,
        choose_precision(cfg.device.precision, device),
        cfg.device.graphs,
        default_positions(device),
        loss_of(training.loss),
    )
    return LoopSettings(training, step, cfg.data.bucketing)


def build_replicas(
    cfg: DictConfig, store: EventStore, replicas: list[Hyperparameters], device: torch.device, *, drawn: bool = True
) -> Replicas:
    """The replicas of the model that the config names, for the store's schema.

    With ``drawn=False`` random initial weights of our own models are zero, which is enough to load weights or to look
    at shapes.
    """
    update = Update(cfg.training.decay, cfg.training.embedding_optimizer)
    build = model_factory.builder(cfg.model, store.schema)
    return Replicas(build if drawn or not build.in_threads else undrawn(build), replicas, update, device)
