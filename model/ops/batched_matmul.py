"""The product of a linear layer of every replica, whose gradient comes out as the optimizer wants it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_CPU_FACTORS: ContextVar[torch.dtype | None] = ContextVar("cpu_factors", default=None)


@contextmanager
def cpu_factors_in(dtype: torch.dtype) -> Iterator[None]:
    """Within it linear layers on a CPU multiply in ``dtype``, and all that lies between them stays as it is.

    Autocast would hand ``dtype`` on to what comes next, which on a CPU computes in float32.
    """
    token = _CPU_FACTORS.set(dtype)
    try:
        yield
    finally:
        _CPU_FACTORS.reset(token)


def cpu_factors() -> torch.dtype | None:
    """What ``cpu_factors_in`` says here; None outside of it."""
    return _CPU_FACTORS.get()


def stacked_product(x: Tensor, weight: Tensor, factors: torch.dtype | None = None) -> Tensor:
    """y[r] = x[r] W[r]^T: x (replica, row, inputs), weight (replica, outputs, inputs) -> (replica, row, outputs).

    Computed in ``factors``, by default the type of x. The result and the gradient of x have the type of x, the gradient
    of the weight has the weight's. PyTorch's own is a tensor in the type of the product, with its axes the other way
    round: it then casts it and turns it, two kernels more for each layer, and a GPU spends longer on the launch of
    either than on its work.
    """
    result: Tensor = _StackedProduct.apply(x, weight, factors or x.dtype)
    return result


class _StackedProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, factors: torch.dtype) -> Tensor:
        a, b = x.to(factors), weight.to(factors)
        ctx.save_for_backward(a, b)
        ctx.dtypes = x.dtype, weight.dtype
        return torch.bmm(a, b.transpose(1, 2)).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        a, b = ctx.saved_tensors
        of_x, of_weight = ctx.dtypes
        needs_x, needs_weight, _ = ctx.needs_input_grad
        dy = dy.to(a.dtype)
        dx = torch.bmm(dy, b).to(of_x) if needs_x else None
        return dx, _summed(dy.transpose(1, 2), a, of_weight) if needs_weight else None, None


def _summed(a: Tensor, b: Tensor, dtype: torch.dtype) -> Tensor:
    """a b in ``dtype``, without a rounding to another on the way where the device can."""
    if a.dtype != dtype and a.is_cuda:
        return torch.bmm(a, b, out_dtype=dtype)
    return torch.bmm(a, b).to(dtype)
