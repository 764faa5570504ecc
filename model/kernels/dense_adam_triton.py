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

from mdaf.model.kernels.dense_adam import PIECE, Pieces
from mdaf.model.kernels.table_adam import BETA1, BETA2
from mdaf.model.kernels.table_adam_triton import adam_step
from mdaf.model.kernels.triton_math import load, sum_partials

_LOG_B1, _LOG_B2 = tl.constexpr(math.log2(BETA1)), tl.constexpr(math.log2(BETA2))
#: Of ``Pieces.where``.
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


@triton.jit(do_not_specialize=["pieces"])
def _dense_adam_update(where, decays, gradient, rates, clip, pieces, DECOUPLED: tl.constexpr, SIZE: tl.constexpr):
    """``pieces`` of each replica; ``rates`` and ``clip`` (replica,)."""
    k = tl.program_id(0) // pieces
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


def norms(pieces: Pieces) -> Tensor:
    """The norm of each replica's gradient, (replica,) float32."""
    programs = len(pieces.where)
    partial = torch.empty((pieces.replicas, programs // pieces.replicas, 1), device=pieces.gradient.device)
    _dense_adam_square[(programs,)](pieces.where, pieces.gradient, partial, PIECE)
    return sum_partials(partial).squeeze(1).sqrt()


def update(pieces: Pieces, rates: Tensor, clip: Tensor, decoupled: bool) -> None:
    """A step of Adam, or of AdamW where ``decoupled``; ``clip`` (replica,) multiplies each replica's gradient."""
    programs, shares = len(pieces.where), len(pieces.steps)
    _dense_adam_update[(programs,)](
        pieces.where, pieces.decays, pieces.gradient, rates, clip, programs // pieces.replicas, decoupled, PIECE
    )
    _dense_adam_count[(triton.cdiv(shares, COUNTED),)](pieces.steps, shares, COUNTED)
