"""How the processes of one command share the cores of their machine.

Each takes an even part of the threads, unless the user has set them. Processes that train on GPUs of their own are also
bound to their part of the cores, where the system can do that: then none waits for a core that another one keeps busy.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

THREADS = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "POLARS_MAX_THREADS")
GIVEN = "MDAF_CORES"  # the cores to which a process is bound by the one that started it


def usable() -> list[int]:
    """The numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def part_of(number: int, processes: int) -> list[int]:
    """The cores of one of so many processes: neighbours, as the GPUs of one socket are. At least one."""
    cores = usable()
    if processes >= len(cores):
        return [cores[number % len(cores)]]
    return cores[number * len(cores) // processes : (number + 1) * len(cores) // processes]


def threads_of(processes: int) -> int:
    """The threads of each of so many processes, unless the user has set them."""
    return int(os.environ.get(THREADS[0]) or max(1, len(usable()) // processes))


def environment_of(processes: int, number: int | None = None) -> dict[str, str]:
    """The environment variables of one of so many processes: how many threads it has, or with ``number`` which cores.

    A process that is bound to cores takes as many threads as it has cores by itself. A user who sets the threads of
    this command also decides where they run: then no process is bound.
    """
    if number is not None and hasattr(os, "sched_setaffinity") and THREADS[0] not in os.environ:
        return {GIVEN: ",".join(map(str, part_of(number, processes)))}
    threads = str(threads_of(processes))
    return {name: os.environ.get(name, threads) for name in THREADS}


def take() -> None:
    """Binds this process to the cores that it was given, if it was. Call it before threads are started."""
    given = os.environ.pop(GIVEN, "")
    if given:
        _bind([int(core) for core in given.split(",")])


@contextmanager
def bound(cores: Sequence[int]) -> Iterator[None]:
    """While it lasts, this thread and those that it starts compute on these cores alone; with none, on all."""
    before = usable()
    if cores:
        _bind(cores)
    try:
        yield
    finally:
        if cores:
            _bind(before)


def _bind(cores: Sequence[int]) -> None:
    # A system that cannot, or a container that has taken cores away since: it is only slower.
    with suppress(AttributeError, OSError):
        os.sched_setaffinity(0, cores)
