"""Adam on CUDA (arXiv 1412.6980) for all small parameters of all replicas in one launch.

Each replica has its own learning rate, weight decay and clipping factor. PyTorch's fused Adam, and the clipping before
it, would be launched once for each replica: with five replicas that is a fourth of all kernels of a training step. Here
each chunk of a parameter is one program of a single launch. Used by ``mdaf.sweeper.training.optim.joint_adam``.
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
#: Columns of ``Chunks.where``.
_COLUMNS = tl.constexpr(6)
#: Step counts that one program increases.
STEPS_OF_PROGRAM = 256


@triton.jit
def _chunk_gradient(row, gradient, SIZE: tl.constexpr):
    """The gradient of a chunk, the index of each element in it, and whether the element exists: all (1, element)."""
    i = tl.arange(0, SIZE)[None, :]
    real = i < tl.load(row + 5)
    return load(gradient + tl.load(row + 4) + i, real), i, real


@triton.jit
def _dense_adam_square(where, gradient, partial, SIZE: tl.constexpr):
    g, _, _ = _chunk_gradient(where + tl.program_id(0).to(tl.int64) * _COLUMNS, gradient, SIZE)
    tl.store(partial + tl.program_id(0), tl.sum(g * g))


@triton.jit
def _floats_at(row, column: tl.constexpr):
    """A pointer to the float32 values whose address is in ``column`` of a row of ``where``."""
    return tl.load(row + column).to(tl.pointer_type(tl.float32))


@triton.jit(do_not_specialize=["chunks"])
def _dense_adam_update(where, decays, gradient, rates, clip, chunks, DECOUPLED: tl.constexpr, SIZE: tl.constexpr):
    """``chunks`` is the number of chunks of one replica; ``rates`` and ``clip`` are (replica,)."""
    k = tl.program_id(0) // chunks
    row = where + tl.program_id(0).to(tl.int64) * _COLUMNS
    g, i, real = _chunk_gradient(row, gradient, SIZE)
    weight, mean, square = _floats_at(row, 0) + i, _floats_at(row, 1) + i, _floats_at(row, 2) + i
    one = tl.zeros((1,), tl.float32)
    # In float64, because 1 - 0.999 has four digits less in float32.
    step = (tl.load(_floats_at(row, 3)) + 1.0).to(tl.float64)
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
    """The Euclidean norm of each replica's gradient, (replica,) float32."""
    programs = len(chunks.where)
    partial = torch.empty((chunks.replicas, programs // chunks.replicas, 1), device=chunks.gradient.device)
    _dense_adam_square[(programs,)](chunks.where, chunks.gradient, partial, CHUNK_SIZE)
    return sum_partials(partial).squeeze(1).sqrt()


def update(chunks: Chunks, rates: Tensor, clip: Tensor, decoupled: bool) -> None:
    """One step of Adam, or of AdamW (arXiv 1711.05101) if ``decoupled``, in place.

    ``rates``: (replica,) learning rates. ``clip``: (replica,), the factor of each replica's gradient.
    """
    programs, shares = len(chunks.where), len(chunks.steps)
    _dense_adam_update[(programs,)](
        chunks.where, chunks.decays, chunks.gradient, rates, clip, programs // chunks.replicas, decoupled, CHUNK_SIZE
    )
    _dense_adam_count[(triton.cdiv(shares, STEPS_OF_PROGRAM),)](chunks.steps, shares, STEPS_OF_PROGRAM)
