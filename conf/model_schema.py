"""Types and bounds of the ``model`` group."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from conf.schema import bounded


@dataclass
class StaticBranch:
    """DCNv3 over the static fields."""

    embedding: int = bounded(1)
    deep_layers: int = bounded(1)
    shallow_layers: int = bounded(1)


@dataclass
class SequenceBranch:
    """Mamba4Rec over the history."""

    embedding: dict[str, int] = MISSING
    hidden: int = bounded(1)
    layers: int = bounded(1)
    state: int = bounded(1)
    conv: int = bounded(1)
    expand: int = bounded(1)
    pooling: Literal["last", "mean"] = MISSING
    target_aware: bool = MISSING
    match_features: bool = MISSING


@dataclass
class MDAF:
    """A static branch, a sequential branch and what mixes them."""

    _target_: str = MISSING
    static: StaticBranch = field(default_factory=StaticBranch)
    sequence: SequenceBranch = field(default_factory=SequenceBranch)
    fusion: Literal["gate", "concat", "static", "sequence"] = MISSING
    head: list[int] = MISSING
    scan: Literal["auto", "reference", "cpu", "triton", "mamba_ssm"] = MISSING


def register() -> None:
    """Puts the schemas of the group into Hydra's config store."""
    ConfigStore.instance().store(group="model", name="schema_mdaf", node=MDAF, replace=True)
