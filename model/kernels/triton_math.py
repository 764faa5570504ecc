"""Functions that Triton kernels share: loads and stores as float32, softplus and sigmoid, sums in a fixed order."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit
def load(pointer, mask):
    """The values where the mask is set, in float32; 0 elsewhere."""
    return tl.load(pointer, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def store(pointer, value, mask):
    """Stores float32 values in the type of the pointer, where the mask is set."""
    tl.store(pointer, value.to(pointer.dtype.element_ty), mask=mask)


@triton.jit
def read(pointer, mask, WHOLE: tl.constexpr):
    """As ``load``. The mask of a ``WHOLE`` tile is set everywhere, so it is not computed."""
    if WHOLE:
        value = tl.load(pointer).to(tl.float32)
    else:
        value = load(pointer, mask)
    return value


@triton.jit
def write(pointer, value, mask, WHOLE: tl.constexpr):
    """As ``store``. The mask of a ``WHOLE`` tile is set everywhere, so it is not computed."""
    if WHOLE:
        tl.store(pointer, value.to(pointer.dtype.element_ty))
    else:
        store(pointer, value, mask)


@triton.jit
def sigmoid(v):
    """1 / (1 + e^-v)."""
    return 1.0 / (1.0 + tl.exp2(-v * LOG2_E))


@triton.jit
def _log1p(u):
    """log(1 + u) for u in [0, 1], with a relative error below 2e-7: a Chebyshev fit of log(1 + u) / u of degree 8.

    ``tl.log2(1 + u)`` takes twice as long, and 1 + u would lose most digits of a small u.
    """
    p = 0.005253457928939032 * u - 0.02958850748836994
    p = p * u + 0.07836166769266129
    p = p * u - 0.13674770295619965
    p = p * u + 0.19111430644989014
    p = p * u - 0.24844369292259216
    p = p * u + 0.33319270610809326
    p = p * u - 0.49999502301216125
    return p * u * u + u


@triton.jit
def softplus_and_slope(v):
    """log(1 + e^v) and its derivative, the sigmoid, from one exponential."""
    u = tl.exp2(-tl.abs(v) * LOG2_E)
    return tl.maximum(v, 0.0) + _log1p(u), tl.where(v < 0.0, u, 1.0) / (1.0 + u)


@triton.jit
def softplus(v):
    """log(1 + e^v)."""
    return softplus_and_slope(v)[0]


@triton.jit(do_not_specialize=["parts"])
def _sum_partials(partial, total, parts, size, PARTS: tl.constexpr, SIZE: tl.constexpr):
    blocks = tl.cdiv(size, SIZE)
    group = (tl.program_id(0) // blocks).to(tl.int64)
    at = (tl.program_id(0) % blocks) * SIZE + tl.arange(0, SIZE)
    part = tl.arange(0, PARTS)
    sums = tl.zeros((PARTS, SIZE), tl.float32)
    for first in range(0, parts, PARTS):
        mask = (first + part < parts)[:, None] & (at < size)[None, :]
        sums += tl.load(partial + (group * parts + first + part)[:, None] * size + at[None, :], mask=mask, other=0.0)
    store(total + group * size + at, tl.sum(sums, axis=0), at < size)


def sum_partials(partial: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Sums ``partial`` (group, part, size) over the parts: (group, size) in ``dtype``.

    The order of additions depends only on the number of parts. ``torch.sum`` picks its order by the whole shape, so a
    replica's sum would change with the number of replicas.
    """
    groups, parts, size = partial.shape
    total = torch.empty((groups, size), dtype=dtype, device=partial.device)
    tile_parts, tile_size, warps = (triton.next_power_of_2(parts), 256, 4) if parts <= 16 else (256, 16, 8)
    grid = (groups * triton.cdiv(size, tile_size),)
    _sum_partials[grid](partial, total, parts, size, tile_parts, tile_size, num_warps=warps)
    return total
