"""The inputs of the dense Adam kernels: every replica's share of every parameter, one chunk for each program."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

#: The most elements of a chunk.
CHUNK_SIZE = 1024


class Share(NamedTuple):
    """One replica's share of a parameter, all float32: weights, moments, number of steps so far, weight decay."""

    weight: Tensor
    mean: Tensor
    square: Tensor
    step: Tensor
    decay: float


class Chunks(NamedTuple):
    """Every replica's shares cut into chunks. Those of replica 0 come first; each replica has equally many.

    ``where``      (chunk, 6) int64: addresses of weights, mean, square, step; offset in ``gradient``; elements.
    ``decays``     (chunk,) float32.
    ``steps``      (share,) int64: addresses of the step counts.
    ``gradient``   (element,) float32: of all parameters, one after another.
    ``gradients``  its parts in the shape of the stacked parameters, (replica, ...).
    ``shares``     the tensors that the addresses point to; they are kept alive here.
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


def chunked(shares: list[list[Share]]) -> Chunks:
    """Cuts ``shares`` (replica, parameter), in the order of the stacked parameters, into chunks."""
    device = shares[0][0].weight.device
    sizes = [len(shares) * share.weight.numel() for share in shares[0]]
    begins = [0, *accumulate(sizes)]
    gradient = torch.empty(begins[-1], device=device)
    gradients = [
        part.view(len(shares), *share.weight.shape)
        for part, share in zip(gradient.split(sizes), shares[0], strict=True)
    ]
    where = [row for k, own in enumerate(shares) for row in _rows(own, k, begins)]
    decays = [share.decay for own in shares for share in own for _ in range(0, share.weight.numel(), CHUNK_SIZE)]
    steps = [share.step.data_ptr() for own in shares for share in own]
    return Chunks(
        torch.tensor(where, device=device),
        torch.tensor(decays, device=device),
        torch.tensor(steps, device=device),
        gradient,
        gradients,
        shares,
    )


def _rows(own: Sequence[Share], k: int, begins: Sequence[int]) -> list[tuple[int, ...]]:
    """The rows of ``Chunks.where`` of replica k."""
    rows = []
    for share, begin in zip(own, begins, strict=False):
        size = share.weight.numel()
        for first in range(0, size, CHUNK_SIZE):
            addresses = [t.data_ptr() + first * t.element_size() for t in (share.weight, share.mean, share.square)]
            offset = begin + k * size + first
            rows.append((*addresses, share.step.data_ptr(), offset, min(CHUNK_SIZE, size - first)))
    return rows
