"""The inputs of the dense Adam kernels: the parameters of every replica, cut into one chunk for each program.

``mdaf.sweeper.training.optim`` builds them once and hands them to ``dense_adam_triton`` at every step.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

#: The most elements of a chunk.
CHUNK_SIZE = 1024


class Share(NamedTuple):
    """One replica's part of a stacked parameter: weights, both moments, number of steps so far, weight decay.

    All tensors are float32.
    """

    weight: Tensor
    mean: Tensor
    square: Tensor
    step: Tensor
    decay: float


class Chunks(NamedTuple):
    """The shares of all replicas, cut into chunks. Replica 0's chunks come first; all replicas have the same number.

    ``where``      (chunk, 6) int64: addresses of weights, mean, square and step; offset in ``gradient``; elements.
    ``decays``     (chunk,) float32: weight decay.
    ``steps``      (share,) int64: addresses of the step counts.
    ``gradient``   (element,) float32: the gradients of all parameters, one after another.
    ``gradients``  views of ``gradient`` in the shapes of the stacked parameters, (replica, ...).
    ``shares``     the tensors that the addresses point to. They are referenced here so that they stay alive.
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
    """Cuts ``shares`` into chunks of at most ``CHUNK_SIZE`` elements.

    ``shares``: a list for each replica, with a share for each parameter, in the order of the stacked parameters.
    """
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
