"""Deferred Adam on CPU cores, for ``mdaf.sweeper.training.optim.deferred_adam``; interface as in ``table_adam_triton``.

A thread takes some rows at a time and does all their missed steps while they are in the processor's cache. A step of
one row waits for the step before it, so several narrow rows are computed side by side.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from mdaf.model.kernels.numba_jit import kernel, loop
from mdaf.model.kernels.table_adam import BETA1, BETA2, EPS, Steps, Table
from mdaf.model.kernels.threads import chunk_count, for_each_chunk, in_order

_B1, _B2 = np.float32(BETA1), np.float32(BETA2)
_REST1, _REST2 = np.float32(1 - BETA1), np.float32(1 - BETA2)
_EPS = np.float32(EPS)
_ZERO = np.float32(0.0)
_ONE = np.float32(1.0)
#: Channels of narrow rows that are caught up side by side.
LANES = 128


@loop
def _step(weight, mean, square, gradient, scale, decay, rates):
    """One step of Adam on a row. ``gradient`` (channel) is multiplied by ``scale``: 0 if the row was not read."""
    for c in range(weight.size):
        g = gradient[c] * scale + decay * weight[c]
        mean[c] = _B1 * mean[c] + _REST1 * g
        square[c] = _B2 * square[c] + _REST2 * g * g
        weight[c] = (_ONE - rates[2]) * weight[c] - rates[0] * mean[c] / (np.sqrt(square[c]) * rates[1] + _EPS)


@loop
def _copy(w, m, v, weight, mean, square):
    """Copies a row's weights and moments, (channel,)."""
    for c in range(w.size):
        weight[c] = w[c]
        mean[c] = m[c]
        square[c] = v[c]


@kernel
def _catch_up(first, last, upto, k, keys, weight, mean, square, gradient, done, rates, decay):
    """Kernel of ``for_each_chunk``; a chunk is one row of ``keys``, all of replica k."""
    for task in range(first, last):
        row = keys[task]
        for step in range(done[row] + 1, upto + 1):
            _step(weight[row], mean[row], square[row], gradient[row], _ZERO, decay[k], rates[step, k])
        done[row] = upto


@kernel
def _catch_up_narrow(first, last, upto, k, keys, weight, mean, square, gradient, done, rates, decay):
    """As ``_catch_up``; a chunk is as many rows as have ``LANES`` channels, those that have missed most first.

    So those that take a step lie side by side.
    """
    dim = weight.shape[1]
    each = LANES // dim
    w, m, v = np.empty((3, LANES), np.float32)
    nothing = np.zeros(LANES, np.float32)
    for task in range(first, last):
        rows = keys[task * each : (task + 1) * each]
        for i in range(rows.size):
            row, lanes = rows[i], i * dim
            _copy(weight[row], mean[row], square[row], w[lanes:], m[lanes:], v[lanes:])
        behind = 0
        for step in range(done[rows[0]] + 1, upto + 1):
            while behind < rows.size and done[rows[behind]] < step:
                behind += 1
            size = behind * dim
            _step(w[:size], m[:size], v[:size], nothing[:size], _ZERO, decay[k], rates[step, k])
        for i in range(rows.size):
            row, lanes = rows[i], slice(i * dim, (i + 1) * dim)
            _copy(w[lanes], m[lanes], v[lanes], weight[row], mean[row], square[row])
            done[row] = upto


@kernel
def _add(first, last, chunks, keys, source, values, gradient):
    """Kernel of ``for_each_chunk``; values (position, dim); source (replica, position): the position of each key."""
    count = keys.shape[1]
    for task in range(first, last):
        k = task // chunks
        for i in range(task % chunks, count, chunks):
            row = keys[k, i]
            if i and row == keys[k, i - 1]:
                continue
            end = i
            while end < count and keys[k, end] == row:
                at = source[k, end]
                for c in range(values.shape[1]):
                    gradient[row, c] += values[at, c]
                end += 1


@kernel
def _add_squares(first, last, chunks, now, keys, gradient, counted, sums):
    """Kernel of ``for_each_chunk``; adds squared norms to sums (replica, chunk) float64."""
    count = keys.shape[1]
    for task in range(first, last):
        k = task // chunks
        total = 0.0
        for i in range(task % chunks, count, chunks):
            row = keys[k, i]
            if (i and row == keys[k, i - 1]) or counted[row] == now:
                continue
            counted[row] = now
            for c in range(gradient.shape[1]):
                total += np.float64(gradient[row, c]) * np.float64(gradient[row, c])
        sums[k, task % chunks] += total


@kernel
def _update(first, last, chunks, now, keys, weight, mean, square, gradient, done, rates, decay, clip):
    """Kernel of ``for_each_chunk``: does step ``now`` on the rows of ``keys`` and sets their gradients to zero."""
    count = keys.shape[1]
    for task in range(first, last):
        k = task // chunks
        for i in range(task % chunks, count, chunks):
            row = keys[k, i]
            if (i and row == keys[k, i - 1]) or done[row] == now:
                continue
            _step(weight[row], mean[row], square[row], gradient[row], clip[k], decay[k], rates[now, k])
            gradient[row] = _ZERO
            done[row] = now


def _by_replica(keys: Tensor, steps: Steps) -> Any:
    return keys.view(len(steps.decay), -1).numpy()


def catch_up(table: Table, steps: Steps, keys: Tensor, behind: int) -> None:
    """Does the missed steps up to ``now`` - ``behind`` on the rows of ``keys``; shapes as in ``Table``."""
    upto, dim = int(steps.now) - behind, table.weight.shape[1]
    narrow = dim <= LANES // 4
    arrays = [a.numpy() for a in (*table[:5], steps.rates, steps.decay)]
    for k, sorted_keys in enumerate(keys.view(len(steps.decay), -1)):
        done = table.done[sorted_keys]
        late = done < upto
        late[1:] &= sorted_keys[1:] != sorted_keys[:-1]
        rows = sorted_keys[late]
        if narrow:
            rows = rows[done[late].argsort(stable=True)]
        chunks = -(-len(rows) // (LANES // dim)) if narrow else len(rows)
        for_each_chunk(_catch_up_narrow if narrow else _catch_up, chunks, upto, k, rows.numpy(), *arrays)


def add_gradient(table: Table, steps: Steps, keys: Tensor, source: Tensor, values: Tensor) -> None:
    """Adds ``values`` (position, dim) to ``table.gradient``; ``keys`` and ``source`` come from ``sorted_rows``."""
    sorted_keys, chunks = _by_replica(keys, steps), chunk_count(keys.numel() // len(steps.decay))
    arrays = (sorted_keys, _by_replica(source, steps), values.float().contiguous().numpy(), table.gradient.numpy())
    for_each_chunk(_add, chunks * len(sorted_keys), chunks, *arrays)


def square_norms(table: Table, steps: Steps, keys: list[Tensor]) -> Tensor:
    """The squared norm of each replica's gradient over the rows of all ``keys``: (replica,) float32."""
    sums = np.zeros((len(steps.decay), max(chunk_count(part.numel() // len(steps.decay)) for part in keys)))
    for part in keys:
        sorted_keys, chunks = _by_replica(part, steps), chunk_count(part.numel() // len(steps.decay))
        arrays = (sorted_keys, table.gradient.numpy(), table.counted.numpy(), sums)
        for_each_chunk(_add_squares, chunks * len(sorted_keys), chunks, int(steps.now), *arrays)
    return in_order(sums).float()


def update(table: Table, steps: Steps, keys: list[Tensor], clip: Tensor) -> None:
    """Does step ``now`` on the rows of all ``keys``, with gradients times ``clip`` (replica,), and zeroes these."""
    for part in keys:
        sorted_keys, chunks = _by_replica(part, steps), chunk_count(part.numel() // len(steps.decay))
        arrays = [a.numpy() for a in (*table[:5], steps.rates, steps.decay, clip)]
        for_each_chunk(_update, chunks * len(sorted_keys), chunks, int(steps.now), sorted_keys, *arrays)


__all__ = ["add_gradient", "catch_up", "square_norms", "update"]
