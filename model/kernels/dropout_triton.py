"""The hash of ``model.dropout`` on CUDA, in Triton."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from model.kernels.triton_math import load, store

#: Elements of a program.
BLOCK = 2048


@triton.jit
def _finalize(word):
    word = (word ^ (word >> 16)) * 0x7FEB352D
    word = (word ^ (word >> 15)) * 0x846CA68B
    return word ^ (word >> 16)


@triton.jit
def _apply(x, rate, key, out, elements, row, gap, SPREAD: tl.constexpr, BLOCK: tl.constexpr):
    blocks = tl.cdiv(elements, BLOCK)
    replica = (tl.program_id(0) // blocks).to(tl.int64)
    start = (tl.program_id(0) % blocks).to(tl.int64) * BLOCK
    word = tl.load(key + replica).to(tl.uint64, bitcast=True)
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB
    word = word ^ (word >> 31)
    low = (word & 0xFFFFFFFF).to(tl.uint32)
    high = (word >> 32).to(tl.uint32)
    position = start + tl.arange(0, BLOCK)
    counted = position.to(tl.uint32)
    if SPREAD:
        counted += (counted // tl.cast(row, tl.uint32)) * tl.cast(gap, tl.uint32)
    mixed = _finalize(_finalize(counted ^ low) ^ high)
    dropped = tl.load(rate + replica)
    keep = (mixed >> 8).to(tl.int32).to(tl.float32) >= dropped * 16777216.0
    real = position < elements
    at = replica * elements + position
    scale = tl.div_rn(1.0, 1.0 - dropped)
    store(out + at, tl.where(keep, load(x + at, real) * scale, 0.0), real)


def apply_mask(x: Tensor, rate: Tensor, key: Tensor, row: int, pitch: int) -> Tensor:
    """``x`` (replica, ...) masked and scaled, as a new tensor; rows of ``row`` elements, ``pitch`` apart."""
    x = x.contiguous()
    out = torch.empty_like(x)
    elements = x.numel() // x.shape[0]
    grid = (x.shape[0] * triton.cdiv(elements, BLOCK),)
    _apply[grid](x, rate, key, out, elements, row, pitch - row, row != pitch, BLOCK)
    return out
