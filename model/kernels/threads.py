"""Runs a numba kernel over chunks of rows, on as many threads as PyTorch uses. All files ``*_cpu.py`` use it.

The threads are plain Python threads, not numba's ``prange``. The kernels release the GIL. A thread takes the next chunk
when it is free, which balances rows of different lengths. And no second OpenMP runtime is loaded, which would forbid
forks and concurrent callers.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

#: The most chunks that the rows of one replica are cut into. Each chunk has its own partial sums over rows (gradients
#: of parameters), which are added in the order of the chunks. So results depend neither on the number of threads nor on
#: which thread took which chunk.
CHUNKS = 64

_pools: dict[tuple[int, int, int], ThreadPoolExecutor] = {}


def chunk_count(rows: int) -> int:
    """The number of chunks for one replica with this many ``rows``."""
    return max(1, min(CHUNKS, rows))


def _pool(workers: int) -> ThreadPoolExecutor:
    """A pool of ``workers`` threads, for the calling thread alone: others that compute at once have pools of their own.

    Threads do not survive a fork, so a child process makes its own pool.
    """
    key = (os.getpid(), threading.get_ident(), workers)
    if key not in _pools:
        _pools[key] = ThreadPoolExecutor(workers, thread_name_prefix="kernel")
    return _pools[key]


def for_each_chunk(kernel: Callable[..., None], chunks: int, *arguments: Any) -> None:
    """Calls ``kernel(first, last, *arguments)`` for ranges [first, last) that together cover each of ``chunks`` once.

    The calling thread takes part. An exception in any thread is raised here.
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
    """Sums ``partial`` (replica, chunk, ...) over the chunks, from the first to the last."""
    total = partial[:, 0].copy()
    for chunk in range(1, partial.shape[1]):
        total += partial[:, chunk]
    return torch.from_numpy(total)
