"""The product of a linear layer of every replica, whose gradient comes out as the optimizer wants it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def stacked_product(x: Tensor, weight: Tensor) -> Tensor:
    """y[r] = x[r] W[r]^T: x (replica, row, inputs), weight (replica, outputs, inputs) -> (replica, row, outputs).

    Computed in the type of x, which the result has; the gradient of x has it too, that of the weight has the weight's.
    PyTorch's own is a tensor in the type of the product, with its axes the other way round: it then casts it and turns
    it, two kernels more for each layer, and a GPU spends longer on the launch of either than on its work.
    """
    result: Tensor = _StackedProduct.apply(x, weight)
    return result


class _StackedProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        factor = weight.to(x.dtype)
        ctx.save_for_backward(x, factor)
        ctx.dtype = weight.dtype
        return torch.bmm(x, factor.transpose(1, 2))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, factor = ctx.saved_tensors
        needs_x, needs_weight = ctx.needs_input_grad
        dx = torch.bmm(dy, factor) if needs_x else None
        return dx, _summed(dy.transpose(1, 2), x, ctx.dtype) if needs_weight else None


def _summed(a: Tensor, b: Tensor, dtype: torch.dtype) -> Tensor:
    """a b in ``dtype``, without a rounding to another on the way where the device can."""
    if a.dtype != dtype and a.is_cuda:
        return torch.bmm(a, b, out_dtype=dtype)
    return torch.bmm(a, b).to(dtype)
