"""Several threads that compute parts of one thing at once, each with its share of the threads that torch may take.

Two threads within each small operation sleep and wake a thousand times a step. Two threads that take parts of their own
meet only at the end. torch and the kernels release the GIL while they compute.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from functools import cache

import torch


@cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """A pool of ``threads`` threads. Threads do not survive a fork, so each process has its own."""
    return ThreadPoolExecutor(threads, thread_name_prefix="worker")


def at_once(compute: Callable[[int, int], None], parts: int, workers: int) -> None:
    """Calls ``compute(worker, part)`` for each part below ``parts`` once, on ``workers`` threads at once.

    The calling thread is worker 0. A worker takes the next part when it is free, so ``compute`` must not care which
    worker has which part. Context variables and the grad mode are the caller's. After an exception no part is begun any
    more; when every thread has ended, the first exception is raised here.
    """
    if workers == 1:
        for part in range(parts):
            compute(0, part)
        return
    threads, gradients = torch.get_num_threads(), torch.is_grad_enabled()
    numbers = itertools.count()
    failures: list[BaseException] = []

    def work(worker: int) -> None:
        try:
            _take_threads(max(1, threads // workers))
            with torch.set_grad_enabled(gradients):
                while not failures and (part := next(numbers)) < parts:
                    compute(worker, part)
        except BaseException as error:
            failures.append(error)

    others: list[Future[None]] = []
    try:
        others += [_pool(os.getpid(), workers - 1).submit(copy_context().run, work, n) for n in range(1, workers)]
        work(0)
    finally:
        _wait(others, failures)
        _take_threads(threads)
    try:
        if failures:
            raise failures[0]
    finally:
        failures.clear()  # it is in a frame of the exception: the two would keep each other, and what the frames hold


def _take_threads(threads: int) -> None:
    """Sets how many threads the operations of the calling thread take; torch keeps the number for each thread."""
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


def _wait(others: list[Future[None]], failures: list[BaseException]) -> None:
    """Returns when all that have begun have ended, also if a signal comes: what they compute belongs to the caller.

    Those that have not begun never do: no part is left for them. To wait for a thread that waits itself has no end.
    """
    while True:
        try:
            wait([other for other in others if not other.cancel()])
        except BaseException as error:
            failures.append(error)
        else:
            return
