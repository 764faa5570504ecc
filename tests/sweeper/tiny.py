"""Tiny runs through the public doors: the config as a user composes it, the command line as a user types it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from hydra import compose, initialize_config_module
from omegaconf import DictConfig

from mdaf import conf
from tests.processes import ROOT, Running

__all__ = ["ROOT", "TINY", "composed", "typed"]

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
    conf.register()
    with initialize_config_module("mdaf.conf"):
        return compose("config", overrides=[*tiny, *overrides])


def typed(module: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """``python -m module arguments`` in ``cwd``; the project need not be installed, only its plugin must be."""
    return Running(module, *arguments, cwd=cwd).wait()
