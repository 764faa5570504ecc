"""Embedding lookup whose gradient is the same in every run and does not wait for the host.

``mdaf.model.layers.basic.Embedding`` and ``mdaf.model.layers.fields.Tables`` use it. The optimizer's deferred Adam
reads and updates rows through ``RowReader``.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from mdaf.model.kernels.backend import reference_only, triton_obstacle

__all__ = ["RowReader", "Rows", "lookup", "side_by_side"]


class RowReader(Protocol):
    """How an optimizer is told which rows of a table a step reads, so that it can bring these up to date first."""

    def read(self, ids: Tensor) -> Tensor:
        """ids (...) -> vectors (..., dim). The rows of replica r are numbered from r * rows on."""

    def catch_up(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Brings the rows of ``ids`` (position,) up to date. Returns ``keys`` and ``source`` for ``add_gradient``."""

    def add_gradient(self, keys: Tensor, source: Tensor, values: Tensor) -> None:
        """Receives the gradients ``values`` (position, dim) of the rows that ``catch_up`` was called for."""


class Rows(NamedTuple):
    """The rows ``ids`` (...) of the table ``weight`` (row, dim), which are read through ``reader`` if there is one."""

    weight: Tensor
    ids: Tensor
    reader: RowReader | None

    def vectors(self) -> Tensor:
        """The rows as (..., dim), in the table's type."""
        return lookup(self.weight, self.ids) if self.reader is None else self.reader.read(self.ids)


def lookup(weight: Tensor, ids: Tensor, backend: str = "auto") -> Tensor:
    """The rows ``ids`` (...), integers, of ``weight`` (row, dim): (..., dim).

    The gradient of ``weight`` is dense, float32, and the same bit for bit in every run. PyTorch's own gradient is so on
    a CPU. On CUDA it either differs between runs, or loops over all positions of one id; a click log has many positions
    of some ids, such as the reserved ones and popular categories. ``backend``: auto | reference (PyTorch) | triton.
    """
    if _chosen(backend, weight) == "reference":
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
        kernel = importlib.import_module("mdaf.model.kernels.embedding_triton")
        return kernel.table_gradient(ids.flatten(), dout.flatten(0, -2).contiguous(), ctx.rows), None


def side_by_side(parts: Sequence[Rows], dtype: torch.dtype, backend: str = "auto") -> Tensor:
    """The vectors of all ``parts`` concatenated: (..., sum of dims) in ``dtype``. All ids have the same shape (...).

    ``triton`` writes the vectors to the result directly, in that type. Gradients and ``backend`` are as in ``lookup``.
    """
    if _chosen(backend, parts[0].weight) == "reference":
        return torch.cat([part.vectors() for part in parts], dim=-1).to(dtype)
    result: Tensor = _SideBySide.apply(parts, dtype, *(part.weight for part in parts))
    return result


def _chosen(backend: str, weight: Tensor) -> str:
    if reference_only():
        return "reference"
    if backend != "auto":
        return backend
    fits = weight.device.type == "cuda" and triton_obstacle(weight.device, weight.dtype) is None
    return "triton" if fits else "reference"


class _SideBySide(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, parts: Sequence[Rows], dtype: torch.dtype, *weights: Tensor) -> Tensor:
        kernel = importlib.import_module("mdaf.model.kernels.embedding_triton")
        widths = [weight.shape[1] for weight in weights]
        shape = parts[0].ids.shape
        out = torch.empty((*shape, sum(widths)), dtype=dtype, device=weights[0].device)
        saved: list[Tensor] = []
        for part, columns in zip(parts, out.flatten(0, -2).split(widths, dim=1), strict=True):
            ids = part.ids.flatten()
            saved += [ids] if part.reader is None else part.reader.catch_up(ids)
            kernel.gather(part.weight.detach(), ids, columns)
        ctx.save_for_backward(*saved)
        ctx.readers, ctx.shapes = [part.reader for part in parts], [weight.shape for weight in weights]
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
        kernel = importlib.import_module("mdaf.model.kernels.embedding_triton")
        column_blocks = dout.flatten(0, -2).contiguous().split([dim for _, dim in ctx.shapes], dim=1)
        saved = iter(ctx.saved_tensors)
        gradients: list[Tensor | None] = []
        for reader, (rows, _), values in zip(ctx.readers, ctx.shapes, column_blocks, strict=True):
            if reader is None:
                gradients.append(kernel.table_gradient(next(saved), values, rows))
            else:
                reader.add_gradient(next(saved), next(saved), values)
                gradients.append(None)
        return None, None, *gradients
