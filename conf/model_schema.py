"""Types and bounds of the ``model`` group."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from mdaf.conf.schema import bounded, positive


@dataclass
class StaticBranch:
    """DCNv3 over the static fields.

    ``embedding``       Width of the embedding of each static field.
    ``deep_layers``     Layers of the exponential cross network.
    ``shallow_layers``  Layers of the linear cross network.
    """

    embedding: int = bounded(1)
    deep_layers: int = bounded(1)
    shallow_layers: int = bounded(1)


@dataclass
class Sequence:
    """A history, the candidate in view.

    ``embedding``       Width of the embeddings of items, categories and other fields of events.
    ``hidden``          Width of the encoder.
    ``layers``          Number of the encoder's layers.
    ``pooling``         What represents the history: the `last` position, or the `mean` of all.
    ``target_aware``    Whether the candidate is the last element of the sequence.
    ``match_features``  Whether each event says if its item and its category equal the candidate's.
    """

    embedding: dict[str, int] = bounded(1)
    hidden: int = bounded(1)
    layers: int = bounded(1)
    pooling: Literal["last", "mean"] = MISSING
    target_aware: bool = MISSING
    match_features: bool = MISSING


@dataclass
class MambaSequence(Sequence):
    """Mamba4Rec's layers.

    ``kind``    Kind of encoder; fixed for this model.
    ``state``   Size of the state of the recurrence for each channel.
    ``conv``    Width of the causal convolution.
    ``expand``  Inner width as a multiple of `hidden`.
    """

    kind: Literal["mamba"] = MISSING
    state: int = bounded(1)
    conv: int = bounded(1)
    expand: int = bounded(1)


@dataclass
class Mamba2Sequence(Sequence):
    """Mamba4Rec's layers with Mamba-2.

    ``kind``    Kind of encoder; fixed for this model.
    ``state``   Size of the state of the recurrence for each head.
    ``conv``    Width of the causal convolution.
    ``expand``  Inner width as a multiple of `hidden`.
    ``head``    Channels per head.
    ``chunk``   Positions that are computed as one block; changes speed, not results beyond rounding.
    """

    kind: Literal["mamba2"] = MISSING
    state: int = bounded(1)
    conv: int = bounded(1)
    expand: int = bounded(1)
    head: int = bounded(1)
    chunk: int = bounded(1)


@dataclass
class TransformerSequence(Sequence):
    """BST's layers.

    ``kind``    Kind of encoder; fixed for this model.
    ``heads``   Number of attention heads.
    ``expand``  Inner width of the feed-forward network as a multiple of `hidden`.
    """

    kind: Literal["transformer"] = MISSING
    heads: int = bounded(1)
    expand: int = bounded(1)


@dataclass
class Model:
    """What every model has.

    ``_target_``  Class of the model.
    ``without``   Fields that the model leaves out; null: `[user]` where most users of validation are new, else none.
    """

    _target_: str = MISSING
    without: list[str] | None = MISSING


@dataclass
class MDAF(Model):
    """A static branch, a sequential branch and what mixes them.

    ``fusion``  How the branches are mixed: `gate`, `concat`, or one branch alone (`static`, `sequence`).
    ``head``    Widths of the layers of the network that gives the logit.
    """

    static: StaticBranch = field(default_factory=StaticBranch)
    fusion: Literal["gate", "concat", "static", "sequence"] = MISSING
    head: list[int] = bounded(1)


@dataclass
class MDAFMamba(MDAF):
    """With Mamba-1.

    ``scan``      Implementation of Mamba's scan; `auto` takes the fastest that runs here.
    """

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
    """A history against the candidate.

    ``head``      Widths of the layers of the network that gives the logit.
    ``scan``      Implementation of Mamba's scan; `auto` takes the fastest that runs here.
    """

    sequence: MambaSequence = field(default_factory=MambaSequence)
    head: list[int] = bounded(1)
    scan: Literal["auto", "reference", "cpu", "triton", "mamba_ssm"] = MISSING


@dataclass
class BST(Model):
    """The Behavior Sequence Transformer.

    ``head``      Widths of the layers of the network that gives the logit.
    """

    sequence: TransformerSequence = field(default_factory=TransformerSequence)
    head: list[int] = bounded(1)


@dataclass
class DIN(Model):
    """The Deep Interest Network.

    ``embedding``       Width of the embeddings of items, categories and other fields.
    ``attention``       Widths of the layers of the network that weighs an event.
    ``match_features``  Whether each event says if its item and its category equal the candidate's.
    ``head``            Widths of the layers of the network that gives the logit.
    """

    embedding: dict[str, int] = bounded(1)
    attention: list[int] = bounded(1)
    match_features: bool = MISSING
    head: list[int] = bounded(1)


@dataclass
class Fields(Model):
    """A model of fields, of which the history is some more.

    ``embedding``       Width of the embedding of each field.
    ``history``         `mean`: each field of the events, averaged, is one more field; `none`: static fields alone.
    ``match_features``  Whether the averaged fields of events say how many of them equal the candidate.
    """

    embedding: int = bounded(1)
    history: Literal["mean", "none"] = MISSING
    match_features: bool = MISSING


@dataclass
class DCNv3(Fields):
    """The exponential and the linear cross network.

    ``deep_layers``     Layers of the exponential cross network.
    ``shallow_layers``  Layers of the linear cross network.
    ``tri_bce``         Whether each network has a loss of its own, as in the paper.
    """

    deep_layers: int = bounded(1)
    shallow_layers: int = bounded(1)
    tri_bce: bool = MISSING


@dataclass
class DCNv2(Fields):
    """Crosses beside a deep network.

    ``cross_layers``  Number of cross layers.
    ``deep``          Widths of the layers of the deep network.
    """

    cross_layers: int = bounded(1)
    deep: list[int] = bounded(1)


@dataclass
class DeepFM(Fields):
    """A factorization machine and a deep network.

    ``deep``  Widths of the layers of the deep network.
    """

    deep: list[int] = bounded(1)


@dataclass
class Boosted(Model):
    """Gradient boosted trees.

    ``trees``             Number of trees after the last epoch.
    ``leaves``            Greatest number of leaves of a tree.
    ``depth``             Greatest number of splits above a leaf.
    ``samples_per_leaf``  Smallest number of samples in a leaf.
    ``learning_rate``     Share of each tree that is added to the sum.
    ``l2``                L2 penalty on the values of leaves.
    ``rows``              Greatest number of training rows that are used.
    """

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
