"""Dropout whose mask is a hash of a key and of each element's position. It needs no random generator and no memory.

A replica's mask depends only on its key and on positions inside the replica. So it equals the mask of the same run
trained alone, on every device, and the backward pass computes the mask again instead of keeping it.

Positions are numbered so that the mask does not depend on how a batch is computed. The distance between rows is given
by the longest sequence, not by the padding of this batch. Positions are counted from the first row of the whole batch,
also in a micro-batch.

The hash: a 64-bit finalizer (as in SplitMix64) mixes the key. Then the position goes through two rounds of a 32-bit
finalizer (xor-shifts and odd multipliers, as in MurmurHash3), each keyed with one half of the mixed key.
"""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mdaf.model.kernels.backend import fused_backend
from mdaf.model.kernels.rows import RowLayout

__all__ = ["Mask", "drawn", "dropped", "hash_dropout", "keep_mask"]

BACKENDS = ("auto", "reference", "cpu")
_WORD = 0xFFFFFFFF


def hash_dropout(
    x: Tensor, rate: Tensor, key: Tensor, backend: str = "auto", row_pitch: int | None = None, first_row: int = 0
) -> Tensor:
    """``x`` / (1 - rate) where an element is kept, 0 where it is dropped; exactly ``x`` at rate 0.

    ``x``          (replica, ...), at most 2^32 elements for each replica.
    ``rate``       (replica,) float32 in [0, 1): the probability that an element is dropped.
    ``key``        (replica,) int64, a new one for each step and layer.
    ``row_pitch``  positions from one row (axis 1) of x to the next; by default the number of elements of a row. Rows
                   with more elements than that share parts of their masks.
    ``first_row``  the index in the batch of x's first row.
    ``backend``    auto | reference | cpu. Both have the same mask, bit for bit. On a GPU PyTorch computes it: there a
                   kernel of its own gains nothing in a step (docs/benchmarks.md).

    Returns the shape and type of x. Raises ``ValueError`` for shapes that do not fit and for a backend that cannot run
    here.
    """
    if x.dim() == 0 or tuple(rate.shape) != x.shape[:1] or tuple(key.shape) != x.shape[:1]:
        raise ValueError(
            f"hash_dropout: x has shape {tuple(x.shape)}, rate {tuple(rate.shape)}, key {tuple(key.shape)}; "
            "expected (replica, ...), (replica,) and (replica,)"
        )
    if x.numel() > x.shape[0] << 32:
        raise ValueError(f"hash_dropout: {x.numel() // x.shape[0]} elements for each replica, expected at most 2^32")
    if backend not in BACKENDS:
        raise ValueError(f"hash_dropout: unknown backend {backend}, expected one of {', '.join(BACKENDS)}")
    automatic = backend == "auto" and x.device.type != "cpu"
    chosen = "reference" if automatic else fused_backend("hash_dropout", backend, x.device, x.dtype)
    if x.numel() == 0:
        return x.clone()
    elements = x.numel() // x.shape[0] // x.shape[1] if x.dim() > 1 else 1
    rows = Rows(elements, elements if row_pitch is None else row_pitch, first_row)
    result: Tensor = _HashDropout.apply(x, rate.float(), key, rows, chosen)
    return result


class Rows(NamedTuple):
    """Elements of a row, positions from one row to the next, and the index in the batch of the first row."""

    elements: int
    pitch: int
    first: int = 0

    @property
    def start(self) -> int:
        """The position of the first element, as a 32-bit word."""
        return self.first * self.pitch & _WORD


class Mask(NamedTuple):
    """A dropout mask: ``rate`` and ``key`` (replica,), and where x lies in it.

    ``pitch``  positions from one row of x (axis 1) to the next.
    ``first``  the index in the batch of x's first row.
    """

    rate: Tensor
    key: Tensor
    pitch: int
    first: int = 0


def dropped(x: Tensor, mask: Mask | None) -> Tensor:
    """x (replica, batch, ...) with ``mask`` applied; x itself if there is no mask."""
    return x if mask is None else hash_dropout(x, mask.rate, mask.key, row_pitch=mask.pitch, first_row=mask.first)


def drawn(mask: Mask | None, x: Tensor) -> tuple[Tensor | None, Tensor | None, RowLayout]:
    """The rate, the key, and where the tokens of x (replica, batch, ..., channel) lie in the mask, for a kernel."""
    length = x.shape[2:-1].numel()
    if mask is None:
        return None, None, RowLayout(length, 0, 0)
    rows = Rows(length * x.shape[-1], mask.pitch, mask.first)
    return mask.rate, mask.key, RowLayout(length, rows.pitch - rows.elements, rows.start)


def keep_mask(rate: Tensor, key: Tensor, elements: int, rows: Rows | None = None) -> Tensor:
    """Which of a replica's ``elements`` elements are kept: (replica, elements) bool, in plain PyTorch on any device.

    PyTorch cannot multiply unsigned 32-bit words. So the words are int64, and products are cut to 32 bits.
    """
    low, high = _spread(key)
    position = torch.arange(elements, device=key.device)
    if rows is not None:
        row = position // rows.elements
        position = (rows.start + position + row * (rows.pitch - rows.elements)) & _WORD
    word = _finalize(_finalize(position ^ low[:, None]) ^ high[:, None])
    # The upper 24 bits and rate * 2^24 are exact in float32, so that the comparison is the same on every device.
    return (word >> 8).float() >= (rate.float() * 2.0**24)[:, None]


def _finalize(word: Tensor) -> Tensor:
    word = ((word ^ (word >> 16)) * 0x7FEB352D) & _WORD
    word = ((word ^ (word >> 15)) * 0x846CA68B) & _WORD
    return word ^ (word >> 16)


def _shift_right(key: Tensor, bits: int) -> Tensor:
    """Shifts an int64 to the right as if it were unsigned."""
    return (key >> bits) & ((1 << (64 - bits)) - 1)


def _spread(key: Tensor) -> tuple[Tensor, Tensor]:
    """Mixes the key, so that every bit depends on all bits. Returns the lower and the upper 32 bits, as int64."""
    key = (key ^ _shift_right(key, 30)) * (0xBF58476D1CE4E5B9 - (1 << 64))
    key = (key ^ _shift_right(key, 27)) * (0x94D049BB133111EB - (1 << 64))
    key = key ^ _shift_right(key, 31)
    return key & _WORD, _shift_right(key, 32)


def _apply_mask(x: Tensor, rate: Tensor, key: Tensor, rows: Rows, backend: str) -> Tensor:
    if backend == "cpu" and x.dtype == torch.float32:
        kernel = importlib.import_module("mdaf.model.kernels.dropout_cpu")
        return kernel.apply_mask(x, rate, key, rows.elements, rows.pitch, rows.start)
    flat = x.reshape(x.shape[0], -1)
    keep = keep_mask(rate, key, flat.shape[1], rows)
    scale = (1 / (1 - rate))[:, None]
    return torch.where(keep, flat * scale, torch.zeros((), device=x.device)).to(x.dtype).view(x.shape)


class _HashDropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rate: Tensor, key: Tensor, rows: Rows, backend: str) -> Tensor:
        ctx.save_for_backward(rate, key)
        ctx.rows, ctx.backend = rows, backend
        return _apply_mask(x, rate, key, rows, backend)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
        rate, key = ctx.saved_tensors
        return _apply_mask(dout, rate, key, ctx.rows, ctx.backend), None, None, None, None
