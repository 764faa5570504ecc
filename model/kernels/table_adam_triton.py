"""Deferred Adam on CUDA, in Triton, for ``mdaf.sweeper.training.optim.deferred_adam``.

It updates the rows that a step reads, and does their missed steps in registers. ``keys`` are the rows that were looked
up, sorted: (replica * position,). Of several equal keys, the first one's program updates the row. Nothing waits for the
host, so a CUDA graph can capture a step. No addition is atomic, so a step repeated gives exactly the same result.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from mdaf.model.kernels.embedding_triton import add_runs
from mdaf.model.kernels.table_adam import BETA1, BETA2, EPS, Steps, Table
from mdaf.model.kernels.triton_math import load, sum_partials

_B1, _B2, _EPS = tl.constexpr(BETA1), tl.constexpr(BETA2), tl.constexpr(EPS)
#: Elements of a program, which has one warp.
TILE = 128


@triton.jit
def adam_step(weight, mean, square, gradient, decay, size, root, shrink):
    """One step of Adam (arXiv 1412.6980): the new weight, mean and square.

    ``weight``, ``mean``, ``square``, ``gradient``: (row, channel). ``decay`` (coupled weight decay), ``size`` (the
    learning rate / (1 - beta1^t)), ``root`` (1 / sqrt(1 - beta2^t)), ``shrink`` (decoupled weight decay): (row,).
    """
    g = gradient + decay[:, None] * weight
    mean = _B1 * mean + (1.0 - _B1) * g
    square = _B2 * square + (1.0 - _B2) * g * g
    moved = (1.0 - shrink[:, None]) * weight - size[:, None] * mean / (tl.sqrt(square) * root[:, None] + _EPS)
    return moved, mean, square


@triton.jit
def _first_of_equals(keys, count, ROWS: tl.constexpr):
    """The keys of this program, and whether each is the first of several equal ones."""
    i = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    own = tl.load(keys + i, mask=i < count, other=-1)
    before = tl.load(keys + i - 1, mask=(i > 0) & (i < count), other=-1)
    return own.to(tl.int64), (i < count) & (own != before)


@triton.jit(do_not_specialize=["behind", "count", "rows", "replicas"])
def _adam_catch_up(
    keys, weight, mean, square, done, rates, decay, now, behind, count, rows, replicas, dim,
    ROWS: tl.constexpr, DIM: tl.constexpr,
):  # fmt: skip
    own, head = _first_of_equals(keys, count, ROWS)
    upto = tl.load(now) - behind
    at = tl.load(done + own, mask=head, other=2147483647)
    late = head & (at < upto)
    k = own // rows
    d = tl.arange(0, DIM)
    cell = own[:, None] * dim + d[None, :]
    mask = late[:, None] & (d < dim)[None, :]
    w, m, v = load(weight + cell, mask), load(mean + cell, mask), load(square + cell, mask)
    own_decay = load(decay + k, late)
    for step in range(tl.min(tl.where(late, at, upto)) + 1, upto + 1):
        active = late & (at < step)
        rate = rates + (step * replicas + k) * 3
        moved, new_m, new_v = adam_step(
            w, m, v, 0.0, own_decay, load(rate, active), load(rate + 1, active), load(rate + 2, active)
        )
        w = tl.where(active[:, None], moved, w)
        m = tl.where(active[:, None], new_m, m)
        v = tl.where(active[:, None], new_v, v)
    tl.store(weight + cell, w, mask=mask)
    tl.store(mean + cell, m, mask=mask)
    tl.store(square + cell, v, mask=mask)
    tl.store(done + own, tl.zeros_like(at) + upto, mask=late)


@triton.jit(do_not_specialize=["count", "chunks"])
def _adam_square(keys, gradient, counted, now, partial, count, chunks, dim, ROWS: tl.constexpr, DIM: tl.constexpr):
    """Each replica has ``count`` positions and ``chunks`` programs; partial (replica, chunk)."""
    k = (tl.program_id(0) // chunks).to(tl.int64)
    i = (tl.program_id(0) % chunks) * ROWS + tl.arange(0, ROWS)
    real = i < count
    own = tl.load(keys + k * count + i, mask=real, other=-1)
    before = tl.load(keys + k * count + i - 1, mask=real & (i > 0), other=-1)
    step = tl.load(now)
    head = real & (own != before)
    fresh = head & (tl.load(counted + own, mask=head, other=0) != step)
    d = tl.arange(0, DIM)
    g = load(gradient + own.to(tl.int64)[:, None] * dim + d[None, :], fresh[:, None] & (d < dim)[None, :])
    tl.store(partial + tl.program_id(0), tl.sum(g * g))
    tl.store(counted + own, tl.zeros_like(own) + step, mask=fresh)


@triton.jit(do_not_specialize=["count", "rows", "replicas"])
def _adam_update(
    keys, weight, mean, square, gradient, done, rates, decay, clip, now, count, rows, replicas, dim,
    ROWS: tl.constexpr, DIM: tl.constexpr,
):  # fmt: skip
    own, head = _first_of_equals(keys, count, ROWS)
    step = tl.load(now)
    late = head & (tl.load(done + own, mask=head, other=2147483647) < step)
    k = own // rows
    d = tl.arange(0, DIM)
    cell = own[:, None] * dim + d[None, :]
    mask = late[:, None] & (d < dim)[None, :]
    rate = rates + (step * replicas + k) * 3
    g = load(gradient + cell, mask) * load(clip + k, late)[:, None]
    moved, m, v = adam_step(
        load(weight + cell, mask), load(mean + cell, mask), load(square + cell, mask), g,
        load(decay + k, late), load(rate, late), load(rate + 1, late), load(rate + 2, late),
    )  # fmt: skip
    tl.store(weight + cell, moved, mask=mask)
    tl.store(mean + cell, m, mask=mask)
    tl.store(square + cell, v, mask=mask)
    tl.store(gradient + cell, tl.zeros_like(g), mask=mask)
    tl.store(done + own, tl.zeros_like(own).to(tl.int32) + step, mask=late)


def _tile(dim: int) -> tuple[int, int]:
    """Rows and channels of a program."""
    width = triton.next_power_of_2(dim)
    return max(1, TILE // width), width


def catch_up(table: Table, steps: Steps, keys: Tensor, behind: int) -> None:
    """Does the missed steps up to ``now`` - ``behind`` on the rows of ``keys``; shapes as in ``Table``."""
    replicas, dim, count = len(steps.decay), table.weight.shape[1], len(keys)
    rows, width = _tile(dim)
    _adam_catch_up[(triton.cdiv(count, rows),)](
        keys, table.weight, table.mean, table.square, table.done, steps.rates, steps.decay, steps.now, behind,
        count, len(table.done) // replicas, replicas, dim, rows, width, num_warps=1,
    )  # fmt: skip


def add_gradient(table: Table, steps: Steps, keys: Tensor, source: Tensor, values: Tensor) -> None:
    """Adds ``values`` (position, dim) to ``table.gradient``; ``keys`` and ``source`` come from ``sorted_rows``.

    ``values`` may be a slice of a wider tensor's channels.
    """
    add_runs(keys, source, values, table.gradient)


def square_norms(table: Table, steps: Steps, keys: list[Tensor]) -> Tensor:
    """The squared norm of each replica's gradient over the rows of all ``keys``: (replica,) float32."""
    replicas, dim = len(steps.decay), table.weight.shape[1]
    rows, width = _tile(dim)
    counts = [len(part) // replicas for part in keys]
    partials = []
    for part, count in zip(keys, counts, strict=True):
        chunks = triton.cdiv(count, rows)
        partial = torch.empty((replicas, chunks, 1), dtype=torch.float32, device=part.device)
        _adam_square[(replicas * chunks,)](
            part, table.gradient, table.counted, steps.now, partial, count, chunks, dim, rows, width, num_warps=1
        )
        partials.append(partial)
    return sum_partials(torch.cat(partials, dim=1)).squeeze(1)


def update(table: Table, steps: Steps, keys: list[Tensor], clip: Tensor) -> None:
    """Does step ``now`` on the rows of all ``keys``, with gradients times ``clip`` (replica,), and zeroes these."""
    replicas, dim = len(steps.decay), table.weight.shape[1]
    rows, width = _tile(dim)
    for part in keys:
        _adam_update[(triton.cdiv(len(part), rows),)](
            part, table.weight, table.mean, table.square, table.gradient, table.done, steps.rates, steps.decay, clip,
            steps.now, len(part), len(table.done) // replicas, replicas, dim, rows, width, num_warps=1,
        )  # fmt: skip
