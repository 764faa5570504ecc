"""Dropout whose mask is a hash of a key and the element's position: no generator, nothing stored, the same everywhere.

A replica's mask depends on its key and on positions inside the replica alone, so it equals the mask of its solo run,
on every device, and backward computes it again instead of keeping it. Positions may be counted with a pitch between the
rows, so that a sequence's mask does not depend on how far its batch is padded, and from a row within a batch on, so
that it does not depend on the pieces that the batch is computed in either.

The hash is two rounds of a 32-bit finalizer (xor-shifts and odd multipliers, as in MurmurHash3) over the position,
each round keyed with one half of the 64-bit key after a 64-bit finalizer (as in SplitMix64) has spread the key.
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

_WORD = 0xFFFFFFFF


def hash_dropout(
    x: Tensor, rate: Tensor, key: Tensor, backend: str = "auto", row_pitch: int | None = None, first_row: int = 0
) -> Tensor:
    """``x`` / (1 - rate) where an element is kept, 0 where it is dropped; exactly ``x`` at rate 0.

    ``x``: (replica, ...), at most 2^32 elements a replica. ``rate``: (replica,) float32 in [0, 1). ``key``:
    (replica,) int64, a fresh one for each step and layer. ``row_pitch``: positions from one row (axis 1) of x to the
    next, by default the row's own elements; rows longer than it share masks. ``first_row``: the place within its batch
    of x's first row. Returns x's shape and dtype. ``backend``: auto | reference | cpu | triton, all with the same mask
    bit for bit. Raises ``ValueError`` for shapes that do not fit and for a backend that cannot run here.
    """
    if x.dim() == 0 or tuple(rate.shape) != x.shape[:1] or tuple(key.shape) != x.shape[:1]:
        raise ValueError(
            f"hash_dropout: x has shape {tuple(x.shape)}, rate {tuple(rate.shape)}, key {tuple(key.shape)}; "
            "expected (replica, ...), (replica,) and (replica,)"
        )
    if x.numel() > x.shape[0] << 32:
        raise ValueError(f"hash_dropout: {x.numel() // x.shape[0]} elements a replica, at most 2^32 can be told apart")
    chosen = fused_backend("hash_dropout", backend, x.device, x.dtype)
    if x.numel() == 0:
        return x.clone()
    elements = x.numel() // x.shape[0] // x.shape[1] if x.dim() > 1 else 1
    rows = Rows(elements, elements if row_pitch is None else row_pitch, first_row)
    result: Tensor = _HashDropout.apply(x, rate.float(), key, rows, chosen)
    return result


class Rows(NamedTuple):
    """The elements of a row, the positions from one row to the next, and the row that the first one is counted as."""

    elements: int
    pitch: int
    first: int = 0

    @property
    def start(self) -> int:
        """The position of the first element, as a 32-bit word."""
        return self.first * self.pitch & _WORD


class Mask(NamedTuple):
    """What dropout draws: ``rate`` and ``key`` (replica,), and where in the mask x lies.

    ``pitch``  positions from one row of x (axis 1) to the next; ``first``: the place within its batch of x's first row.
    """

    rate: Tensor
    key: Tensor
    pitch: int
    first: int = 0


def dropped(x: Tensor, mask: Mask | None) -> Tensor:
    """x (replica, batch, ...) with ``mask`` applied; x itself where there is none."""
    return x if mask is None else hash_dropout(x, mask.rate, mask.key, row_pitch=mask.pitch, first_row=mask.first)


def drawn(mask: Mask | None, x: Tensor) -> tuple[Tensor | None, Tensor | None, RowLayout]:
    """Rate and key, and where in the mask a kernel finds the tokens of x (replica, batch, ..., channel)."""
    length = x.shape[2:-1].numel()
    if mask is None:
        return None, None, RowLayout(length, 0, 0)
    rows = Rows(length * x.shape[-1], mask.pitch, mask.first)
    return mask.rate, mask.key, RowLayout(length, rows.pitch - rows.elements, rows.start)


def keep_mask(rate: Tensor, key: Tensor, elements: int, rows: Rows | None = None) -> Tensor:
    """The mask of ``elements`` elements of each replica, (replica, elements) bool, by plain operations on any device.

    int64 stands in for unsigned 32-bit words, which PyTorch cannot multiply: products wrap and are cut to 32 bits.
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
    """The unsigned shift of a 64-bit word in an int64."""
    return (key >> bits) & ((1 << (64 - bits)) - 1)


def _spread(key: Tensor) -> tuple[Tensor, Tensor]:
    """The two 32-bit halves, as int64, of the key after a finalizer in which every bit of it reaches every bit."""
    key = (key ^ _shift_right(key, 30)) * (0xBF58476D1CE4E5B9 - (1 << 64))
    key = (key ^ _shift_right(key, 27)) * (0x94D049BB133111EB - (1 << 64))
    key = key ^ _shift_right(key, 31)
    return key & _WORD, _shift_right(key, 32)


def _apply_mask(x: Tensor, rate: Tensor, key: Tensor, rows: Rows, backend: str) -> Tensor:
    if backend != "reference" and not (backend == "cpu" and x.dtype != torch.float32):
        kernel = importlib.import_module(f"mdaf.model.kernels.dropout_{backend}")
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
