"""The hash of ``mdaf.model.ops.hash_dropout`` as Triton kernels use it."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

#: Of a kernel's arguments those that hold a number a replica. Where a layer's begin depends on how many replicas there
#: are, which is no reason to compile a kernel again.
PER_REPLICA = ["rates", "keys"]


@triton.jit
def _finalize(word):
    word = (word ^ (word >> 16)) * 0x7FEB352D
    word = (word ^ (word >> 15)) * 0x846CA68B
    return word ^ (word >> 16)


@triton.jit
def spread(key):
    """The two 32-bit halves of a 64-bit key (int64) after its finalizer."""
    word = key.to(tl.uint64, bitcast=True)
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB
    word = word ^ (word >> 31)
    return (word & 0xFFFFFFFF).to(tl.uint32), (word >> 32).to(tl.uint32)


@triton.jit
def positions(token, channel, length, channels, gap, begin):
    """Positions (token, channel), uint32; ``gap`` of them between rows of ``length`` tokens, the first ``begin``."""
    first = (token * channels + (token // length) * gap).to(tl.uint32) + tl.cast(begin, tl.uint32)
    return first[:, None] + channel.to(tl.uint32)[None, :]


@triton.jit
def masked(x, position, low, high, rate):
    """``x`` (float32) scaled where the element at ``position`` (uint32) is kept, 0 where it is dropped."""
    mixed = _finalize(_finalize(position ^ low) ^ high)
    keep = (mixed >> 8).to(tl.int32).to(tl.float32) >= rate * 16777216.0
    return tl.where(keep, x * tl.div_rn(1.0, 1.0 - rate), 0.0)


def mask_of(x: Tensor, rate: Tensor | None, key: Tensor | None) -> tuple[Tensor, Tensor]:
    """Rates and keys (replica,) as a kernel takes them, zeros where nothing is dropped."""
    if rate is None or key is None:
        return torch.zeros(len(x), device=x.device), torch.zeros(len(x), dtype=torch.int64, device=x.device)
    return rate, key
