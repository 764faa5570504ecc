"""Selects the vector at one position of each sequence, with a fast gradient. Encoders use it for the last position."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mdaf.model.kernels.backend import reference_only


def take_position(x: Tensor, position: Tensor) -> Tensor:
    """x (replica, batch, length, channel), position (replica, batch) int64 -> x there: (replica, batch, 1, channel)."""
    if reference_only():
        return _taken(x, position)
    taken: Tensor = _TakePosition.apply(x, position)
    return taken


def _taken(x: Tensor, position: Tensor) -> Tensor:
    """``take_position`` without a gradient of its own. Not ``take_along_dim``, which fixes sizes when it is traced."""
    return x.gather(2, position[..., None, None].expand(-1, -1, 1, x.shape[-1]))


class _TakePosition(torch.autograd.Function):
    """The gradient writes each vector to its position.

    PyTorch's own gradient allows for positions that occur twice, so it adds; to add in a fixed order it sorts on CUDA.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, position: Tensor) -> Tensor:
        ctx.save_for_backward(position)
        ctx.length = x.shape[2]
        return _taken(x, position)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor, None]:
        (position,) = ctx.saved_tensors
        taken = torch.arange(ctx.length, device=position.device) == position[..., None]
        return torch.where(taken[..., None], dout, torch.zeros((), dtype=dout.dtype, device=dout.device)), None
