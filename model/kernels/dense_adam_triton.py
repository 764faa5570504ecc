"""Adam on CUDA for all small parameters of all replicas at once, each replica with its own rate, decay and clip.

An ordinary fused Adam is launched for each replica anew, and so is what clips its gradient: with five replicas a fourth
of a training step's kernels. Here each piece of a parameter is a program's.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from mdaf.model.kernels.dense_adam import CHUNK_SIZE, Chunks
from mdaf.model.kernels.table_adam import BETA1, BETA2
from mdaf.model.kernels.table_adam_triton import adam_step
from mdaf.model.kernels.triton_math import load, sum_partials

_LOG_B1, _LOG_B2 = tl.constexpr(math.log2(BETA1)), tl.constexpr(math.log2(BETA2))
#: Of ``Chunks.where``.
_COLUMNS = tl.constexpr(6)
#: Steps that a program counts up.
COUNTED = 256


@triton.jit
def _piece_gradient(row, gradient, SIZE: tl.constexpr):
    """The gradient of a piece, (1, element), with the elements' numbers and which of them are real."""
    i = tl.arange(0, SIZE)[None, :]
    real = i < tl.load(row + 5)
    return load(gradient + tl.load(row + 4) + i, real), i, real


@triton.jit
def _dense_adam_square(where, gradient, partial, SIZE: tl.constexpr):
    g, _, _ = _piece_gradient(where + tl.program_id(0).to(tl.int64) * _COLUMNS, gradient, SIZE)
    tl.store(partial + tl.program_id(0), tl.sum(g * g))


@triton.jit
def _at(row, column: tl.constexpr):
    """The float32 values that an address in ``where`` points to."""
    return tl.load(row + column).to(tl.pointer_type(tl.float32))


@triton.jit(do_not_specialize=["chunks"])
def _dense_adam_update(where, decays, gradient, rates, clip, chunks, DECOUPLED: tl.constexpr, SIZE: tl.constexpr):
    """``chunks`` of each replica; ``rates`` and ``clip`` (replica,)."""
    k = tl.program_id(0) // chunks
    row = where + tl.program_id(0).to(tl.int64) * _COLUMNS
    g, i, real = _piece_gradient(row, gradient, SIZE)
    weight, mean, square = _at(row, 0) + i, _at(row, 1) + i, _at(row, 2) + i
    one = tl.zeros((1,), tl.float32)
    # In double: 1 - 0.999 loses four digits in float32.
    step = (tl.load(_at(row, 3)) + 1.0).to(tl.float64)
    size = tl.load(rates + k) / (1.0 - tl.exp2(step * _LOG_B1)).to(tl.float32)
    root = 1.0 / tl.sqrt(1.0 - tl.exp2(step * _LOG_B2)).to(tl.float32)
    decay = tl.load(decays + tl.program_id(0))
    coupled, shrink = one, one
    if DECOUPLED:
        shrink += decay * tl.load(rates + k)
    else:
        coupled += decay
    moved, m, v = adam_step(
        load(weight, real), load(mean, real), load(square, real), g * tl.load(clip + k), coupled, one + size,
        one + root, shrink,
    )  # fmt: skip
    tl.store(weight, moved, mask=real)
    tl.store(mean, m, mask=real)
    tl.store(square, v, mask=real)


@triton.jit(do_not_specialize=["count"])
def _dense_adam_count(steps, count, SIZE: tl.constexpr):
    i = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    real = i < count
    step = tl.load(steps + i, mask=real, other=0).to(tl.pointer_type(tl.float32))
    tl.store(step, tl.load(step, mask=real) + 1.0, mask=real)


def norms(chunks: Chunks) -> Tensor:
    """The norm of each replica's gradient, (replica,) float32."""
    programs = len(chunks.where)
    partial = torch.empty((chunks.replicas, programs // chunks.replicas, 1), device=chunks.gradient.device)
    _dense_adam_square[(programs,)](chunks.where, chunks.gradient, partial, CHUNK_SIZE)
    return sum_partials(partial).squeeze(1).sqrt()


def update(chunks: Chunks, rates: Tensor, clip: Tensor, decoupled: bool) -> None:
    """A step of Adam, or of AdamW where ``decoupled``; ``clip`` (replica,) multiplies each replica's gradient."""
    programs, shares = len(chunks.where), len(chunks.steps)
    _dense_adam_update[(programs,)](
        chunks.where, chunks.decays, chunks.gradient, rates, clip, programs // chunks.replicas, decoupled, CHUNK_SIZE
    )
    _dense_adam_count[(triton.cdiv(shares, COUNTED),)](chunks.steps, shares, COUNTED)
