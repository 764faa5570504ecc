"""Rows of embedding tables, with a gradient that is the same each time and needs no word from the host."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from mdaf.model.kernels.backend import triton_obstacle

__all__ = ["RowReader", "Rows", "lookup", "side_by_side"]


class RowReader(Protocol):
    """What an optimizer puts between a table and its reader, to bring up to date the rows that are read."""

    def read(self, ids: Tensor) -> Tensor:
        """ids (...), rows of replica r counted from r * rows -> (..., dim)."""

    def catch_up(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Brings the rows of ``ids`` (position,) up to date; what ``add_gradient`` takes of them."""

    def add_gradient(self, keys: Tensor, source: Tensor, values: Tensor) -> None:
        """Takes the gradients ``values`` (position, dim) of rows that were read."""


class Rows(NamedTuple):
    """What is read of a table: ``weight`` (row, dim) at ``ids`` (...), by a ``reader`` where there is one."""

    weight: Tensor
    ids: Tensor
    reader: RowReader | None

    def vectors(self) -> Tensor:
        """(..., dim), in the table's type."""
        return lookup(self.weight, self.ids) if self.reader is None else self.reader.read(self.ids)


def lookup(weight: Tensor, ids: Tensor, backend: str = "auto") -> Tensor:
    """weight (row, dim) at ids (...) integer -> (..., dim).

    The gradient of ``weight`` is dense and float32, and the same bit for bit each time. PyTorch's own is that on a CPU;
    on CUDA it is either not repeatable or takes a run of one id as a loop, and ids of a click log come in long runs:
    the reserved ones, popular categories. ``backend``: auto | reference (PyTorch's) | triton.
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
    """The vectors of all ``parts``, whose ids have one shape, concatenated: (..., sum of dims) in ``dtype``.

    ``triton`` writes each vector to its place in that type at once. Gradients and ``backend`` as in ``lookup``.
    """
    if _chosen(backend, parts[0].weight) == "reference":
        return torch.cat([part.vectors() for part in parts], dim=-1).to(dtype)
    result: Tensor = _SideBySide.apply(parts, dtype, *(part.weight for part in parts))
    return result


def _chosen(backend: str, weight: Tensor) -> str:
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
        found: list[Tensor] = []
        for part, columns in zip(parts, out.flatten(0, -2).split(widths, dim=1), strict=True):
            ids = part.ids.flatten()
            found += [ids] if part.reader is None else part.reader.catch_up(ids)
            kernel.gather(part.weight.detach(), ids, columns)
        ctx.save_for_backward(*found)
        ctx.readers, ctx.shapes = [part.reader for part in parts], [weight.shape for weight in weights]
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
        kernel = importlib.import_module("mdaf.model.kernels.embedding_triton")
        columns = dout.flatten(0, -2).contiguous().split([dim for _, dim in ctx.shapes], dim=1)
        found = iter(ctx.saved_tensors)
        gradients: list[Tensor | None] = []
        for reader, (rows, _), values in zip(ctx.readers, ctx.shapes, columns, strict=True):
            if reader is None:
                gradients.append(kernel.table_gradient(next(found), values, rows))
            else:
                reader.add_gradient(next(found), next(found), values)
                gradients.append(None)
        return None, None, *gradients
