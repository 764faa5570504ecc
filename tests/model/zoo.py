"""Every model of ``conf/model``, and the variants that its keys offer, built as a job builds it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf

from mdaf import conf
from mdaf.data.schema import Batch, Schema
from mdaf.model.ctr import CTRModel
from mdaf.sweeper.training.building.model_factory import builder, by_gradient
from tests.model.samples import SCHEMA

MODELS = sorted(path.stem for path in (Path(conf.__file__).parent / "model").glob("[!_]*.yaml"))

# Values that differ from the default, for each key that a model may have.
CHOICES = {
    "fusion": ("gate", "concat", "static", "sequence"),
    "history": ("mean", "none"),
    "tri_bce": ("true", "false"),
    "match_features": ("true", "false"),
    "sequence.match_features": ("true", "false"),
    "sequence.target_aware": ("true", "false"),
    "sequence.pooling": ("last", "mean"),
}

# What makes a model small and plain, and the key of the model that it is for.
SMALL = {"scan=reference": "scan", "sequence.hidden=32": "sequence"}


@cache
def composed() -> DictConfig:
    """Every model's group under its name, composed once for all of them, which takes as long as for one."""
    conf.register()
    with initialize_config_module("mdaf.conf"):
        return compose(overrides=[f"+model@{name}={name}" for name in MODELS])


@cache
def node(name: str, *overrides: str) -> DictConfig:
    """The model group of a job with ``model=name``, its keys set anew by ``overrides``."""
    group = OmegaConf.create({"model": composed()[name]})
    return OmegaConf.merge(group, OmegaConf.from_dotlist(list(overrides))).model


def trained_by_gradient(name: str) -> bool:
    return by_gradient(node(name))


def variants() -> list[tuple[str, ...]]:
    """(name, override ...) of each model by default and with each of its choices made otherwise."""
    found = []
    for name in filter(trained_by_gradient, MODELS):
        found += [(name,), (name, "model.without=[behaviour,hour]")]
        for key, values in CHOICES.items():
            current = node(name)
            for part in key.split("."):
                current = current.get(part) if isinstance(current, DictConfig) else None
            if current is not None:
                found += [(name, f"model.{key}={value}") for value in values if value != str(current).lower()]
    return found


def zoo_model(name: str, *overrides: str, seed: int = 0, schema: Schema = SCHEMA) -> CTRModel:
    """A model of one replica with embeddings large enough that differences do not drown in rounding."""
    small = [f"model.{key}" for key, group in SMALL.items() if group in node(name)]
    torch.manual_seed(seed)
    model = builder(node(name, *overrides, *small), schema)()
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            if is_table(parameter_name):
                parameter[:, 1:] *= 50
    return model


def is_table(parameter_name: str) -> bool:
    """Whether a parameter is an embedding table, whose row 0 is padding."""
    return "tables" in parameter_name or "positions" in parameter_name


def part(samples: Batch, replica: int) -> Batch:
    """One replica's samples."""
    only = slice(replica, replica + 1)
    return Batch(
        {name: ids[only] for name, ids in samples.static.items()},
        {name: ids[only] for name, ids in samples.sequence.items()},
        samples.lengths[only],
        samples.labels[only],
    )
