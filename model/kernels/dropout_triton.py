"""Dropout by the mask of ``mdaf.model.ops.hash_dropout`` on CUDA, in Triton."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from mdaf.model.kernels.hash_triton import PER_REPLICA, masked, spread
from mdaf.model.kernels.triton_math import load, store

#: Elements of a program.
BLOCK = 2048


@triton.jit(do_not_specialize=["row", "gap", "begin"], do_not_specialize_on_alignment=PER_REPLICA)
def _dropout(x, rates, keys, out, elements, row, gap, begin, SPREAD: tl.constexpr, BLOCK: tl.constexpr):
    blocks = tl.cdiv(elements, BLOCK)
    replica = (tl.program_id(0) // blocks).to(tl.int64)
    start = (tl.program_id(0) % blocks).to(tl.int64) * BLOCK
    low, high = spread(tl.load(keys + replica))
    position = start + tl.arange(0, BLOCK)
    counted = position.to(tl.uint32)
    if SPREAD:
        counted += (counted // tl.cast(row, tl.uint32)) * tl.cast(gap, tl.uint32)
    counted += tl.cast(begin, tl.uint32)
    real = position < elements
    at = replica * elements + position
    store(out + at, masked(load(x + at, real), counted, low, high, tl.load(rates + replica)), real)


def apply_mask(x: Tensor, rate: Tensor, key: Tensor, row: int, pitch: int, begin: int = 0) -> Tensor:
    """Dropout of ``x`` (replica, ...), as a new tensor of its type.

    ``rate``, ``key``: (replica,). Rows of ``row`` elements are ``pitch`` positions apart in the mask; the first row
    starts at position ``begin``.
    """
    x = x.contiguous()
    out = torch.empty_like(x)
    elements = x.numel() // x.shape[0]
    grid = (x.shape[0] * triton.cdiv(elements, BLOCK),)
    _dropout[grid](x, rate, key, out, elements, row, pitch - row, begin, row != pitch, BLOCK)
    return out
