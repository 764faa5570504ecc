"""Runs a numba kernel over chunks of rows on as many threads as PyTorch uses.

Plain Python threads rather than numba's ``prange``: the kernels release the GIL, the chunks are handed out as threads
become free (rows differ in length), and there is no second OpenMP runtime that forbids forking or concurrent callers.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

#: Chunks of rows that a replica's batch is cut into. Sums over rows (the parameters' gradients) are kept per chunk and
#: added in the chunks' order, so results depend neither on the number of threads nor on which thread took which chunk.
CHUNKS = 64

_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}


def chunk_count(rows: int) -> int:
    """Chunks that one replica's ``rows`` are cut into, by their number alone. Chunk i has every count-th row from i."""
    return max(1, min(CHUNKS, rows))


def _pool(workers: int) -> ThreadPoolExecutor:
    """A pool of ``workers`` threads of this process; threads do not survive a fork, so a child makes its own."""
    key = (os.getpid(), workers)
    if key not in _pools:
        _pools[key] = ThreadPoolExecutor(workers, thread_name_prefix="kernel")
    return _pools[key]


def for_each_chunk(kernel: Callable[..., None], chunks: int, *arguments: Any) -> None:
    """Calls ``kernel(first, last, *arguments)`` so that the ranges [first, last) cover ``chunks`` chunks once.

    The caller's thread takes part. An exception in any thread is raised here.
    """
    threads = min(torch.get_num_threads(), chunks)
    if threads <= 1:
        kernel(0, chunks, *arguments)
        return
    step = max(1, chunks // (8 * threads))
    starts = itertools.count(0, step)

    def work() -> None:
        while (first := next(starts)) < chunks:
            kernel(first, min(first + step, chunks), *arguments)

    others = [_pool(threads - 1).submit(work) for _ in range(threads - 1)]
    try:
        work()
    finally:
        for other in others:
            other.result()


def in_order(partial: np.ndarray) -> Tensor:
    """Sum of (replica, chunk, ...) over the chunks, first to last."""
    total = partial[:, 0].copy()
    for chunk in range(1, partial.shape[1]):
        total += partial[:, chunk]
    return torch.from_numpy(total)
