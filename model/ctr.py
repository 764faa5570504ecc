"""What every model of the zoo is to the rest of the program."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from data.schema import Batch


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
    """

    by_gradient: ClassVar[bool] = True

    def forward(self, batch: Batch) -> Output:
        """Scores a batch; batch axes as in ``Batch``."""
        raise NotImplementedError
