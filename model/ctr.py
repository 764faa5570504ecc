"""What every model of the zoo is to the rest of the program."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from mdaf.data.schema import Batch


@dataclass(frozen=True)
class Output:
    """What a model says of a batch.

    ``logits``    (replica, batch), of a click.
    ``gate``      (replica, batch), the static branch's share, if there is a gate.
    ``branches``  logits of sub-networks that want a loss of their own, (replica, batch) each; empty: none does.
    """

    logits: Tensor
    gate: Tensor | None = None
    branches: tuple[Tensor, ...] = ()


class CTRModel(nn.Module):
    """A model built for a ``Schema`` of one replica, that scores a ``Batch`` of all its replicas.

    ``by_gradient``  whether the training loop trains it; else it is an estimator with a ``fit`` of its own.
    ``separable``    whether a batch's loss is a sum over its samples, so that its gradient can be computed in pieces.
    ``thread_safe``  whether several threads can compute parts of a batch at once: no forward pass writes a buffer or an
                     attribute. Each class says it for itself; a subclass does not inherit it.
    ``capturable``   whether a step on a GPU never waits for the host, so that a CUDA graph can capture it.
    ``event_channels``  the channels of the widest tensors that it has for each event of a history. A CPU computes so
                        many samples at a time that such a tensor stays in its cache.
    """

    by_gradient: ClassVar[bool] = True
    separable: bool = True
    thread_safe: ClassVar[bool] = False
    capturable: bool = True
    event_channels: int = 512

    def forward(self, batch: Batch) -> Output:
        """Scores a batch; batch axes as in ``Batch``."""
        raise NotImplementedError


class Estimator(CTRModel):
    """A model that is fitted to features of the training samples, in parts that take the place of epochs.

    ``rows``           training samples that it takes, at most.
    ``learning_rate``  its own, for the record.
    """

    by_gradient: ClassVar[bool] = False
    rows: int
    learning_rate: float

    def count(self, batch: Batch) -> None:
        """Sees training samples of one replica, each once, before any features are asked for."""
        raise NotImplementedError

    def training_features(self, batch: Batch) -> Tensor:
        """Features (replica, batch, feature) of samples that have been counted."""
        raise NotImplementedError

    def fit(self, x: Tensor, labels: Tensor, share: float, seed: int) -> Tensor:
        """Goes on until ``share`` of the whole is fitted; the logits (samples,) that it then gives.

        ``x``: (samples, feature). ``labels``: (samples,). ``seed``: below 2^32.
        """
        raise NotImplementedError
