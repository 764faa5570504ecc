"""Which GPUs this process may use, found without torch, and how they are given to other processes.

CUDA reads ``CUDA_VISIBLE_DEVICES`` once, when a process first uses it: a process that has it set sees these GPUs alone,
numbered from 0. So a process that is given one GPU runs as on a machine with a single one.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from mdaf.errors import UserError

VISIBLE = "CUDA_VISIBLE_DEVICES"
GIVEN = "MDAF_GPUS"  # set for a process that was given its GPUs by another one, which has read ``device.gpus``
SHARED = "MDAF_GPU_SHARED_BY"  # how many processes were given the same GPU, where these are several
ALL = "all"
KEY = "device.gpus"

_before: str | None = None  # VISIBLE before this process chose among its GPUs
_chosen: list[str] | None = None


def visible() -> list[str]:
    """The names of the GPUs that this process may use, as CUDA_VISIBLE_DEVICES lists them; none without a driver."""
    named = os.environ.get(VISIBLE) if _chosen is None else _before
    count = _count()
    if named is None:
        return [str(number) for number in range(count)]
    found: list[str] = []
    for name in (part.strip() for part in named.split(",")) if count else ():
        if not name or name == "-1" or (name.isdigit() and int(name) >= count):
            break  # CUDA looks at nothing behind a name that is none
        found.append(name)
    return found


def chosen(wanted: Any) -> list[str]:
    """The names of the GPUs that ``device.gpus`` chooses, the first one first: ``all``, so many, or a list of numbers.

    A process that was given its GPUs takes all of them. UserError if one is not there.
    """
    there = visible()
    numbers = numbers_in(wanted)
    if GIVEN in os.environ or numbers is None:
        return there
    if absent := [number for number in numbers if number >= len(there)]:
        few = {0: "no GPU is seen here", 1: "one GPU is seen here, number 0"}
        seen = few.get(len(there), f"{len(there)} GPUs are seen here, numbers 0 to {len(there) - 1}")
        found = f"number {absent[0]}" if isinstance(wanted, Iterable) else f"{wanted}"
        raise UserError(f"{KEY}: found {found}, and {seen}; leave it out to take all that there are")
    return [there[number] for number in numbers]


def numbers_in(wanted: Any) -> list[int] | None:
    """The numbers that ``device.gpus`` names; None for all. UserError if it is of another form."""
    if wanted is None or wanted == ALL:
        return None
    if _is_number(wanted) and wanted >= 1:
        return list(range(wanted))
    listed = list(wanted) if isinstance(wanted, Iterable) and not isinstance(wanted, str) else []
    if listed and all(_is_number(one) and one >= 0 for one in listed) and len(set(listed)) == len(listed):
        return listed
    raise UserError(f"{KEY}: found {wanted}, expected all, how many, or a list of different numbers, as {KEY}=[0,2]")


def environment_of(names: Sequence[str], shared_by: int = 1) -> dict[str, str]:
    """The environment variables of a process that is given these GPUs. ``shared_by``: processes that share each GPU."""
    found = {VISIBLE: ",".join(names), GIVEN: str(len(names))}
    return found | {SHARED: str(shared_by)} if shared_by > 1 else found


def shared_by() -> int:
    """How many processes share each GPU of this process. Each takes an even part of its memory."""
    return int(os.environ.get(SHARED, 1))


def least_free_memory() -> int:
    """Bytes that are free on the GPU with the least, as the driver says it; 0 if it doesn't."""
    with suppress(AttributeError), _management() as driver:
        if driver is not None:
            return min((_free(driver, number) for number in range(_count())), default=0)
    return 0


def _free(driver: Any, number: int) -> int:
    device, memory = ctypes.c_void_p(), (ctypes.c_ulonglong * 3)()  # of which are whole, free and taken
    if driver.nvmlDeviceGetHandleByIndex_v2(number, ctypes.byref(device)) != 0:
        return 0
    return int(memory[1]) if driver.nvmlDeviceGetMemoryInfo(device, ctypes.byref(memory)) == 0 else 0


def take(names: Sequence[str]) -> None:
    """Makes the first of these GPUs the one that this process computes on. UserError if it uses another one already."""
    global _before, _chosen
    if list(names[:1]) == (visible()[:1] if _chosen is None else _chosen[:1]):
        return  # CUDA's own choice
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        raise UserError(f"{KEY}: this process uses another GPU already; start a new one")
    if _chosen is None:
        _before = os.environ.get(VISIBLE)
    _chosen = list(names)
    os.environ[VISIBLE] = ",".join(names)


def wake() -> None:
    """Begins to start the driver on the first GPU, in a thread: the time passes while torch is imported.

    Call it when there is a GPU, and it is decided on which one this process computes.
    """
    if "torch" not in sys.modules:
        threading.Thread(target=_start, name="start CUDA", daemon=True).start()


def _start() -> None:
    """Makes the context of the first GPU, which torch then takes. Without success torch does the same later."""
    with suppress(OSError, AttributeError):
        driver, device, context = ctypes.CDLL("libcuda.so.1"), ctypes.c_int(), ctypes.c_void_p()
        if driver.cuInit(0) == 0 and driver.cuDeviceGet(ctypes.byref(device), 0) == 0:
            driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device)


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


@cache
def _count() -> int:
    """How many NVIDIA GPUs the driver lists; 0 without a driver."""
    with suppress(AttributeError), _management() as driver:
        count = ctypes.c_uint()
        if driver is not None and driver.nvmlDeviceGetCount_v2(ctypes.byref(count)) == 0:
            return count.value
    folder = Path("/proc/driver/nvidia/gpus")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


@contextmanager
def _management() -> Iterator[Any]:
    """NVIDIA's management library, begun and ended again; None where it is not there or does not begin."""
    driver: Any = None
    with suppress(OSError, AttributeError):
        found = ctypes.CDLL("libnvidia-ml.so.1")
        driver = found if found.nvmlInit_v2() == 0 else None
    try:
        yield driver
    finally:
        if driver is not None:
            driver.nvmlShutdown()
