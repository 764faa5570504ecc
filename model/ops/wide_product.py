"""The float32 product of a wide linear layer, by oneDNN where MKL would leave half of the processor idle.

PyTorch multiplies float32 matrices on a CPU by MKL. On AMD processors with AVX-512 MKL computes in AVX2, at half of
their speed. oneDNN, which PyTorch brings too, computes in AVX-512. Both round to float32; the order of sums differs.

oneDNN generates machine code for each shape, which takes half a millisecond, and keeps it for a thousand shapes. So it
is given few numbers of rows, and MKL the rows that are left. PyTorch has no public way to choose oneDNN for float32, so
this is the only file that calls its private operator.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from mdaf.hardware.processor import processor
from mdaf.model.kernels.backend import reference_only

#: oneDNN gets a multiple of so many rows,
STEP = 256
#: at most so many at once in a product, which is then written where it stays,
BLOCK = 16384
#: and at most so many at once in a sum over rows. Another number rounds the sum in another way.
SUMMED = 1024
#: A layer is wide with so many weights, or with so many inputs or outputs. Below, calls cost what the products save.
WEIGHTS, CHANNELS = 8192, 256


def pays(x: Tensor, weight: Tensor) -> bool:
    """Whether ``wide_product`` is faster than PyTorch's for x (replica, row, inputs) and weight (replica, ...)."""
    if reference_only() or x.device.type != "cpu" or not _mkl_is_slow():
        return False  # first of all: a traced size is not compared
    _, outputs, inputs = weight.shape
    wide = outputs * inputs >= WEIGHTS or max(outputs, inputs) >= CHANNELS
    floats = x.dtype == weight.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    return wide and floats and x.shape[1] >= STEP and not _is_transformed()


def wide_product(x: Tensor, weight: Tensor) -> Tensor:
    """y[r] = x[r] W[r]^T: x (replica, row, inputs), weight (replica, outputs, inputs) -> (replica, row, outputs)."""
    result: Tensor = _WideProduct.apply(x, weight)
    return result


class _WideProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _each(_product, x, weight)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight = ctx.needs_input_grad
        if torch.is_grad_enabled():  # the gradients are differentiated in turn, as for a penalty of their size
            dweight = torch.bmm(dy.transpose(1, 2), x) if needs_weight else None
            return torch.bmm(dy, weight) if needs_x else None, dweight
        dx = _each(_product, dy, weight.transpose(1, 2)) if needs_x else None
        if not needs_weight:
            return dx, None
        if dy.shape[2] < x.shape[2]:
            return dx, _each(_sum_of_products, dy, x)
        return dx, _each(_sum_of_products, x, dy).transpose(1, 2).contiguous()  # oneDNN wants the longer axis last


def _each(function: Any, first: Tensor, second: Tensor) -> Tensor:
    """``function`` of each replica's two matrices, stacked."""
    found = [function(a.contiguous(), b.contiguous()) for a, b in zip(first, second, strict=True)]
    return found[0].unsqueeze(0) if len(found) == 1 else torch.stack(found)


def _product(x: Tensor, weight: Tensor) -> Tensor:
    """x W^T: x (row, inputs), weight (outputs, inputs) -> (row, outputs)."""
    rows = len(x)
    whole = rows - rows % STEP
    if whole == rows <= BLOCK:
        return _onednn(x, weight)
    y = x.new_empty(rows, len(weight))
    for begin in range(0, whole, BLOCK):
        end = min(begin + BLOCK, whole)
        y[begin:end] = _onednn(x[begin:end], weight)
    if whole < rows:
        torch.mm(x[whole:], weight.t(), out=y[whole:])
    return y


def _sum_of_products(a: Tensor, b: Tensor) -> Tensor:
    """a^T b: a (row, n), b (row, m) -> (n, m)."""
    rows = len(a)
    whole = rows - rows % STEP
    total = a.new_zeros(a.shape[1], b.shape[1]) if whole < rows else None
    if total is not None:
        torch.mm(a[whole:].t(), b[whole:], out=total)
    for begin in range(0, whole, SUMMED):
        end = min(begin + SUMMED, whole)
        part = _onednn(a[begin:end].t(), b[begin:end].t())
        total = part if total is None else total.add_(part)
    assert total is not None
    return total


def _onednn(x: Tensor, weight: Tensor) -> Tensor:
    """x W^T by oneDNN."""
    y: Tensor = _operator()(x, weight, None, "none", [], "")
    return y


@cache
def _operator() -> Any:
    """PyTorch's operator, which it keeps for its own compiler; None where it has none."""
    return getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None


def _is_transformed() -> bool:
    """Whether a transform of ``torch.func``, such as vmap, is at work: it knows PyTorch's own operators alone."""
    active: bool = torch._C._are_functorch_transforms_active()
    return active


@cache
def _mkl_is_slow() -> bool:
    amd = processor().vendor == "AuthenticAMD" and torch.backends.cpu.get_cpu_capability() == "AVX512"
    return amd and torch.backends.mkl.is_available() and _operator() is not None
