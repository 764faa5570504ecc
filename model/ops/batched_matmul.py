"""The matrix product of a linear layer for all replicas, for ``mdaf.model.layers.basic.Linear``.

The gradient of the weight has the type and layout that the optimizer needs, without further kernels.
"""

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
    """Within this context, linear layers on a CPU multiply in ``dtype`` and return the type of their input.

    Autocast would return ``dtype`` instead, and the operations between the layers compute in float32 on a CPU.
    """
    token = _CPU_FACTORS.set(dtype)
    try:
        yield
    finally:
        _CPU_FACTORS.reset(token)


def cpu_factors() -> torch.dtype | None:
    """The type that ``cpu_factors_in`` sets; None outside of that context."""
    return _CPU_FACTORS.get()


def stacked_product(x: Tensor, weight: Tensor, factors: torch.dtype | None = None) -> Tensor:
    """y[r] = x[r] W[r]^T: x (replica, row, inputs), weight (replica, outputs, inputs) -> (replica, row, outputs).

    The product is computed in the type ``factors``, by default the type of x. The result and the gradient of x have the
    type of x. The gradient of the weight has the type of the weight.

    PyTorch's gradient of the weight has the type of the product and transposed axes, so PyTorch casts and transposes
    it. These are two more kernels for each layer, and a GPU takes longer to launch them than to run them.
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
        x_type, weight_type = ctx.dtypes
        needs_x, needs_weight, _ = ctx.needs_input_grad
        dy = dy.to(a.dtype)
        dx = torch.bmm(dy, b).to(x_type) if needs_x else None
        return dx, _product_in(dy.transpose(1, 2), a, weight_type) if needs_weight else None, None


def _product_in(a: Tensor, b: Tensor, dtype: torch.dtype) -> Tensor:
    """a b in ``dtype``. On CUDA the sums are not rounded to the type of ``a`` first."""
    if a.dtype != dtype and a.is_cuda:
        return torch.bmm(a, b, out_dtype=dtype)
    return torch.bmm(a, b).to(dtype)
