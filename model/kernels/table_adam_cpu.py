"""Deferred Adam on CPU cores, for ``mdaf.sweeper.training.optim.deferred_adam``; interface as in ``table_adam_triton``.

A thread takes one row at a time and does all its missed steps while the row is in the processor's cache.
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


@loop
def _step(weight, mean, square, gradient, scale, decay, rates):
    """One step of Adam on a row. ``gradient`` (channel) is multiplied by ``scale``: 0 if the row was not read."""
    for c in range(weight.size):
        g = gradient[c] * scale + decay * weight[c]
        mean[c] = _B1 * mean[c] + _REST1 * g
        square[c] = _B2 * square[c] + _REST2 * g * g
        weight[c] = (_ONE - rates[2]) * weight[c] - rates[0] * mean[c] / (np.sqrt(square[c]) * rates[1] + _EPS)


@kernel
def _catch_up(first, last, chunks, upto, keys, weight, mean, square, gradient, done, rates, decay):
    """Kernel of ``for_each_chunk``; keys (replica, position) are sorted."""
    replicas, count = keys.shape
    rows = done.size // replicas
    for task in range(first, last):
        k = task // chunks
        for i in range(task % chunks, count, chunks):
            row = keys[k, i]
            if i and row == keys[k, i - 1]:
                continue
            for step in range(done[row] + 1, upto + 1):
                _step(
                    weight[row],
                    mean[row],
                    square[row],
                    gradient[row],
                    np.float32(0),
                    decay[row // rows],
                    rates[step, row // rows],
                )
            done[row] = max(done[row], upto)


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
    sorted_keys = _by_replica(keys, steps)
    upto, chunks = int(steps.now) - behind, chunk_count(sorted_keys.shape[1])
    arrays = [a.numpy() for a in (*table[:5], steps.rates, steps.decay)]
    for_each_chunk(_catch_up, chunks * len(sorted_keys), chunks, upto, sorted_keys, *arrays)


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
