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

#: Of products summed over rows on a GPU, in float32 and in bfloat16: the most parts, the fewest rows of a part, and the
#: most elements of the result, over all replicas.
FLOAT_PARTS = (32, 512, 4_000_000)
HALF_PARTS = (4, 4096, 200_000)

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


def stacked_product(
    x: Tensor, weight: Tensor, factors: torch.dtype | None = None, bias: Tensor | None = None
) -> Tensor:
    """y[r] = x[r] W[r]^T + b[r].

    x (replica, row, inputs), weight (replica, outputs, inputs), bias (replica, outputs) -> (replica, row, outputs).

    The product is computed in the type ``factors``, by default the type of x. The result and the gradient of x have the
    type of x. The gradients of weight and bias have their types.

    PyTorch's gradient of the weight has the type of the product and transposed axes, so PyTorch casts and transposes
    it. These are two more kernels for each layer, and a GPU takes longer to launch them than to run them.
    """
    result: Tensor = _StackedProduct.apply(x, weight, bias, factors or x.dtype)
    return result


class _StackedProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, factors: torch.dtype) -> Tensor:
        a, b = x.to(factors), weight.to(factors)
        ctx.save_for_backward(a, b)
        ctx.dtypes = x.dtype, weight.dtype
        if bias is None:
            return torch.bmm(a, b.transpose(1, 2)).to(x.dtype)
        ctx.bias_type = bias.dtype
        return torch.baddbmm(bias.to(factors).unsqueeze(1), a, b.transpose(1, 2)).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        a, b = ctx.saved_tensors
        x_type, weight_type = ctx.dtypes
        needs_x, needs_weight, needs_bias, _ = ctx.needs_input_grad
        dy = dy.to(a.dtype)
        dx = torch.bmm(dy, b).to(x_type) if needs_x else None
        dbias = dy.sum(dim=1, dtype=ctx.bias_type) if needs_bias else None
        return dx, summed_product(dy, a, weight_type) if needs_weight else None, dbias, None


def summed_product(dy: Tensor, x: Tensor, dtype: torch.dtype, parts: int | None = None) -> Tensor:
    """dy[r]^T x[r], a sum over rows, in ``dtype``: dy (replica, row, outputs), x (replica, row, inputs).

    For several replicas a GPU's library lets one multiprocessor sum each tile of the result over all rows: a few of
    them work, and the others wait. So the rows are summed in ``parts`` of equal size at once; None: as many as pay.
    """
    if parts is None:
        pay = dy.is_cuda and len(dy) > 1  # for one replica the library does so itself
        parts = parts_of_rows(len(dy) * dy.shape[2] * x.shape[2], dy.shape[1], dy.dtype) if pay else 1
    if parts == 1:
        return _product_in(dy.transpose(1, 2), x, dtype)
    dy_parts, x_parts = (rows.unflatten(1, (parts, -1)).flatten(0, 1) for rows in (dy, x))
    return _product_in(dy_parts.transpose(1, 2), x_parts, dtype).unflatten(0, (-1, parts)).sum(dim=1)


def parts_of_rows(elements: int, rows: int, factors: torch.dtype) -> int:
    """In how many parts of equal size a GPU sums a product of ``elements`` over rows, see docs/benchmarks.md."""
    most, least_rows, most_elements = FLOAT_PARTS if factors == torch.float32 else HALF_PARTS
    parts = 1
    while elements <= most_elements and parts < most and rows % (2 * parts) == 0 and rows // (2 * parts) >= least_rows:
        parts *= 2
    return parts


def _product_in(a: Tensor, b: Tensor, dtype: torch.dtype) -> Tensor:
    """a b in ``dtype``. On CUDA the sums are not rounded to the type of ``a`` first."""
    if a.dtype != dtype and a.is_cuda:
        return torch.bmm(a, b, out_dtype=dtype)
    return torch.bmm(a, b).to(dtype)
