"""The dropout mask of ``mdaf.model.ops.hash_dropout`` as Triton functions, for the fused kernels of this folder."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

#: Arguments of kernels with one number for each replica. They are slices of a tensor (layer, replica), so the alignment
#: of a slice depends on the number of replicas. Triton would otherwise compile a kernel again for each alignment.
PER_REPLICA = ["rates", "keys"]


@triton.jit
def _finalize(word):
    word = (word ^ (word >> 16)) * 0x7FEB352D
    word = (word ^ (word >> 15)) * 0x846CA68B
    return word ^ (word >> 16)


@triton.jit
def spread(key):
    """The lower and the upper 32 bits of a key's hash; the key is an int64."""
    word = key.to(tl.uint64, bitcast=True)
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB
    word = word ^ (word >> 31)
    return (word & 0xFFFFFFFF).to(tl.uint32), (word >> 32).to(tl.uint32)


@triton.jit
def positions(token, channel, length, channels, gap, begin):
    """Positions in the mask, (token, channel) uint32.

    ``begin`` is the first position. There are ``gap`` unused positions after each row of ``length`` tokens.
    """
    first = (token * channels + (token // length) * gap).to(tl.uint32) + tl.cast(begin, tl.uint32)
    return first[:, None] + channel.to(tl.uint32)[None, :]


@triton.jit
def masked(x, position, low, high, rate):
    """``x`` / (1 - rate) where the element at ``position`` (uint32) is kept, 0 where it is dropped; float32."""
    mixed = _finalize(_finalize(position ^ low) ^ high)
    keep = (mixed >> 8).to(tl.int32).to(tl.float32) >= rate * 16777216.0
    return tl.where(keep, x * tl.div_rn(1.0, 1.0 - rate), 0.0)


def mask_of(x: Tensor, rate: Tensor | None, key: Tensor | None) -> tuple[Tensor, Tensor]:
    """Rates and keys (replica,) as kernels take them; zeros if there is no dropout."""
    if rate is None or key is None:
        return torch.zeros(len(x), device=x.device), torch.zeros(len(x), dtype=torch.int64, device=x.device)
    return rate, key
