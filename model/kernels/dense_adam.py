"""What the kernels of dense Adam act on: every replica's share of every parameter, a piece for each program."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

#: Elements of a piece at most.
PIECE = 1024


class Share(NamedTuple):
    """One replica's share of a parameter, all float32: weights, moments, number of its last step, and weight decay."""

    weight: Tensor
    mean: Tensor
    square: Tensor
    step: Tensor
    decay: float


class Pieces(NamedTuple):
    """Every replica's shares in pieces, those of replica 0 first, as many of each replica.

    ``where``      (piece, 6) int64: addresses of weights, mean, square and step; the place in ``gradient``; elements.
    ``decays``     (piece,) float32.
    ``steps``      (share,) int64: addresses of the steps' numbers.
    ``gradient``   (element,) float32: that of all parameters, one after another.
    ``gradients``  its parts in the shape of the stacked parameters, (replica, ...).
    ``shares``     what the addresses point to, which has to outlive them.
    """

    where: Tensor
    decays: Tensor
    steps: Tensor
    gradient: Tensor
    gradients: list[Tensor]
    shares: list[list[Share]]

    @property
    def replicas(self) -> int:
        return len(self.shares)


def cut(shares: list[list[Share]]) -> Pieces:
    """``shares`` (replica, parameter), in the order of the stacked parameters, in pieces."""
    device = shares[0][0].weight.device
    sizes = [len(shares) * share.weight.numel() for share in shares[0]]
    begins = [0, *accumulate(sizes)]
    gradient = torch.empty(begins[-1], device=device)
    gradients = [
        part.view(len(shares), *share.weight.shape)
        for part, share in zip(gradient.split(sizes), shares[0], strict=True)
    ]
    where = [row for k, own in enumerate(shares) for row in _rows(own, k, begins)]
    decays = [share.decay for own in shares for share in own for _ in range(0, share.weight.numel(), PIECE)]
    steps = [share.step.data_ptr() for own in shares for share in own]
    return Pieces(
        torch.tensor(where, device=device),
        torch.tensor(decays, device=device),
        torch.tensor(steps, device=device),
        gradient,
        gradients,
        shares,
    )


def _rows(own: Sequence[Share], k: int, begins: Sequence[int]) -> list[tuple[int, ...]]:
    """The rows of ``Pieces.where`` of replica k."""
    rows = []
    for share, begin in zip(own, begins, strict=False):
        size = share.weight.numel()
        for first in range(0, size, PIECE):
            addresses = [t.data_ptr() + first * t.element_size() for t in (share.weight, share.mean, share.square)]
            place = begin + k * size + first
            rows.append((*addresses, share.step.data_ptr(), place, min(PIECE, size - first)))
    return rows
