"""Rows of an embedding table, with a gradient that is the same each time and needs no word from the host."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from model.kernels.backend import triton_obstacle

__all__ = ["lookup"]


def lookup(weight: Tensor, ids: Tensor, backend: str = "auto") -> Tensor:
    """weight (row, dim) at ids (...) integer -> (..., dim).

    The gradient of ``weight`` is dense and float32, and the same bit for bit each time. PyTorch's own is that on a CPU;
    on CUDA it is either not repeatable or takes a run of one id as a loop, and ids of a click log come in long runs:
    the reserved ones, popular categories. ``backend``: auto | reference (PyTorch's) | triton.
    """
    if backend == "auto":
        fits = weight.device.type == "cuda" and triton_obstacle(weight.device, weight.dtype) is None
        backend = "triton" if fits else "reference"
    if backend == "reference":
        return F.embedding(ids, weight)
    result: Tensor = _Lookup.apply(weight, ids)
    return result


class _Lookup(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, ids: Tensor) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.rows = weight.shape[0]
        return F.embedding(ids, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor, None]:
        (ids,) = ctx.saved_tensors
        kernel = importlib.import_module("model.kernels.embedding_triton")
        return kernel.table_gradient(ids.flatten(), dout.flatten(0, -2), ctx.rows), None
