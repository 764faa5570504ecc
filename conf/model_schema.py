"""Types and bounds of the ``model`` group."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from mdaf.conf.schema import bounded, positive


@dataclass
class StaticBranch:
    """DCNv3 over the static fields."""

    embedding: int = bounded(1)
    deep_layers: int = bounded(1)
    shallow_layers: int = bounded(1)


@dataclass
class Sequence:
    """A history, the candidate in view."""

    embedding: dict[str, int] = bounded(1)
    hidden: int = bounded(1)
    layers: int = bounded(1)
    pooling: Literal["last", "mean"] = MISSING
    target_aware: bool = MISSING
    match_features: bool = MISSING


@dataclass
class MambaSequence(Sequence):
    """Mamba4Rec's layers."""

    kind: Literal["mamba"] = MISSING
    state: int = bounded(1)
    conv: int = bounded(1)
    expand: int = bounded(1)


@dataclass
class Mamba2Sequence(Sequence):
    """Mamba4Rec's layers with Mamba-2."""

    kind: Literal["mamba2"] = MISSING
    state: int = bounded(1)
    conv: int = bounded(1)
    expand: int = bounded(1)
    head: int = bounded(1)
    chunk: int = bounded(1)


@dataclass
class TransformerSequence(Sequence):
    """BST's layers."""

    kind: Literal["transformer"] = MISSING
    heads: int = bounded(1)
    expand: int = bounded(1)


@dataclass
class Model:
    """What every model has."""

    _target_: str = MISSING
    without: list[str] | None = MISSING


@dataclass
class MDAF(Model):
    """A static branch, a sequential branch and what mixes them."""

    static: StaticBranch = field(default_factory=StaticBranch)
    fusion: Literal["gate", "concat", "static", "sequence"] = MISSING
    head: list[int] = bounded(1)


@dataclass
class MDAFMamba(MDAF):
    """With Mamba-1."""

    sequence: MambaSequence = field(default_factory=MambaSequence)
    scan: Literal["auto", "reference", "cpu", "triton", "mamba_ssm"] = MISSING


@dataclass
class MDAFMamba2(MDAF):
    """With Mamba-2."""

    sequence: Mamba2Sequence = field(default_factory=Mamba2Sequence)


@dataclass
class MDAFTransformer(MDAF):
    """With the Behavior Sequence Transformer."""

    sequence: TransformerSequence = field(default_factory=TransformerSequence)


@dataclass
class Mamba4Rec(Model):
    """A history against the candidate."""

    sequence: MambaSequence = field(default_factory=MambaSequence)
    head: list[int] = bounded(1)
    scan: Literal["auto", "reference", "cpu", "triton", "mamba_ssm"] = MISSING


@dataclass
class BST(Model):
    """The Behavior Sequence Transformer."""

    sequence: TransformerSequence = field(default_factory=TransformerSequence)
    head: list[int] = bounded(1)


@dataclass
class DIN(Model):
    """The Deep Interest Network."""

    embedding: dict[str, int] = bounded(1)
    attention: list[int] = bounded(1)
    match_features: bool = MISSING
    head: list[int] = bounded(1)


@dataclass
class Fields(Model):
    """A model of fields, of which the history is some more."""

    embedding: int = bounded(1)
    history: Literal["mean", "none"] = MISSING
    match_features: bool = MISSING


@dataclass
class DCNv3(Fields):
    """The exponential and the linear cross network."""

    deep_layers: int = bounded(1)
    shallow_layers: int = bounded(1)
    tri_bce: bool = MISSING


@dataclass
class DCNv2(Fields):
    """Crosses beside a deep network."""

    cross_layers: int = bounded(1)
    deep: list[int] = bounded(1)


@dataclass
class DeepFM(Fields):
    """A factorization machine and a deep network."""

    deep: list[int] = bounded(1)


@dataclass
class Boosted(Model):
    """Gradient boosted trees."""

    trees: int = bounded(1)
    leaves: int = bounded(2)
    depth: int = bounded(1)
    samples_per_leaf: int = bounded(1)
    learning_rate: float = positive()
    l2: float = bounded(0)
    rows: int = bounded(1)


SCHEMAS = {
    "mdaf_mamba": MDAFMamba,
    "mdaf_mamba2": MDAFMamba2,
    "mdaf_bst": MDAFTransformer,
    "mamba4rec": Mamba4Rec,
    "bst": BST,
    "din": DIN,
    "dcnv3": DCNv3,
    "dcnv2": DCNv2,
    "deepfm": DeepFM,
    "boosted": Boosted,
}


def register() -> None:
    """Puts the schemas of the group into Hydra's config store."""
    store = ConfigStore.instance().store
    for name, schema in SCHEMAS.items():
        store(group="model", name=f"schema_{name}", node=schema, replace=True)
