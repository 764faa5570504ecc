"""Tiny runs through the public doors: the config as a user composes it, the command line as a user types it."""

from __future__ import annotations

import copy
import functools
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from hydra import compose, initialize_config_module
from omegaconf import DictConfig

from mdaf import conf
from mdaf.sweeper.storage.opening import open_storage
from tests.processes import ROOT, Running

__all__ = ["ROOT", "TINY", "below", "composed", "empty_database", "typed"]

# A model and a log small enough for a second of training.
TINY = (
    "data=synthetic_tiny",
    "device=cpu",
    "model.sequence.embedding={item: 8, category: 8, other: 4}",
    "model.sequence.hidden=16",
    "model.sequence.layers=1",
    "model.sequence.state=4",
    "model.static.embedding=4",
    "model.head=[8]",
    "training.epochs=2",
    "training.batch_size=256",
    "training.learning_rate=5e-3",
)


def composed(*overrides: str, tiny: tuple[str, ...] = TINY) -> DictConfig:
    """The job's config with these overrides on top of ``tiny``, which suits MDAF-Mamba."""
    return copy.deepcopy(_composed("config", (*tiny, *overrides)))


def below(where: Mapping[str, str], name: str, *overrides: str) -> DictConfig:
    """A config of the tree with ``overrides``, and with the places ``where`` unless one of them names another.

    Places differ in each test, and composing takes long: without them it is done once for all tests.
    """
    config = copy.deepcopy(_composed(name, overrides))
    for key, value in where.items():
        if not any(override.startswith(f"{key}=") for override in overrides):
            config[key] = value
    return config


@functools.cache
def _composed(name: str, overrides: tuple[str, ...]) -> DictConfig:
    conf.register()
    with initialize_config_module("mdaf.conf"):
        return compose(name, overrides=list(overrides))


@functools.cache
def empty_database() -> bytes:
    """A study database without a study: made once, since Optuna takes its time for it."""
    with tempfile.TemporaryDirectory() as folder:
        open_storage(f"sqlite:///{folder}/s.db", create=True)
        return (Path(folder) / "s.db").read_bytes()


def typed(module: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """``python -m module arguments`` in ``cwd``; the project need not be installed, only its plugin must be."""
    return Running(module, *arguments, cwd=cwd).wait()
