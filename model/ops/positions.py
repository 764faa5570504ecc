"""The vector at one position of each row, and its gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def take_position(x: Tensor, position: Tensor) -> Tensor:
    """x (replica, batch, length, channel) at position (replica, batch) of each -> (replica, batch, 1, channel)."""
    taken: Tensor = _TakePosition.apply(x, position)
    return taken


class _TakePosition(torch.autograd.Function):
    """PyTorch's own gradient adds, as if a position could come twice; to do that repeatably it sorts them on CUDA."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, position: Tensor) -> Tensor:
        ctx.save_for_backward(position)
        ctx.length = x.shape[2]
        return torch.take_along_dim(x, position[..., None, None], dim=2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor, None]:
        (position,) = ctx.saved_tensors
        taken = torch.arange(ctx.length, device=position.device) == position[..., None]
        return torch.where(taken[..., None], dout, torch.zeros((), dtype=dout.dtype, device=dout.device)), None
