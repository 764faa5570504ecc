"""Compiles all Triton kernels of a training step at the same time, on several threads, before any of them is run.

Triton compiles a kernel at its first launch, on one processor, while the launch waits. For the kernels of one model
this takes more than half a minute on a machine that has not trained the model before. Most of this time is spent
outside Python, so threads can share it. ``mdaf.sweeper.training.stepping.step`` goes through one step in which kernels
are requested but not run, and so learns which kernels to compile.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from mdaf.hardware import cores
from mdaf.model.kernels.compile_lock import CompileLock
from mdaf.processes import interruption


class RequestedKernels:
    """The kernels that were requested and that this process has not loaded, each once."""

    def __init__(self) -> None:
        self._found: dict[str, Any] = {}  # Triton's specialization data of a kernel -> its function

    def __len__(self) -> int:
        return len(self._found)

    def note(self, *, fn: Any, compile: dict[str, Any], **_: Any) -> bool:
        """Triton calls this hook before it compiles a kernel. True tells it not to."""
        self._found[compile["specialization_data"]] = fn.jit_function
        return True

    def compile(self, begin_thread: Callable[[], None]) -> None:
        """Compiles all kernels for the current device, or loads them from Triton's cache on disk.

        ``begin_thread`` makes the device current in the thread that calls it. The error of a kernel that cannot be
        compiled is ignored here: it is raised when the kernel is run.
        """
        if not self._found:
            return
        know_triton().join()  # several threads would each compute it
        with _first_of_several(self._found):
            self._compile(begin_thread)

    def _compile(self, begin_thread: Callable[[], None]) -> None:
        # Only one thread at a time can run Python. With a thread on every processor they would mostly wait for the GIL.
        threads = min(len(self._found), max(2, len(cores.usable()) // 2))
        with ThreadPoolExecutor(threads, "compiling", begin_thread) as pool:
            wait([pool.submit(function.preload, data) for data, function in self._found.items()])


@cache
def know_triton() -> threading.Thread:
    """Has Triton compute the hash of its own files in a thread. The first kernel that is loaded needs it."""
    thread = threading.Thread(target=_hash_triton, name="know Triton", daemon=True)
    thread.start()
    return thread


def _hash_triton() -> None:
    with suppress(ImportError):
        from triton.runtime.cache import triton_key

        triton_key()


@contextmanager
def _first_of_several(found: Mapping[str, Any]) -> Iterator[None]:
    """Lets one process at a time compile these kernels, unless one has: the others wait, and find them on disk."""
    from triton import knobs
    from triton.runtime import driver

    folder = Path(knobs.cache.dir)
    texts = [f"{data} {function.cache_key}" for data, function in sorted(found.items())]
    name = hashlib.sha256("\n".join([str(driver.active.get_current_target()), *texts]).encode()).hexdigest()[:16]
    done = folder / f"mdaf-{name}.compiled"
    lock = CompileLock(folder / "mdaf.lock")
    if done.exists() or not lock.acquire(interruption.check):
        yield
        return
    try:
        yield
        with suppress(OSError):
            done.touch()
    finally:
        lock.release()


@contextmanager
def requests_only() -> Iterator[RequestedKernels]:
    """Within this context, launches of Triton kernels are recorded and nothing is run: no tensor is written."""
    from triton import knobs
    from triton.runtime.jit import JITFunction

    requested, run, hook = RequestedKernels(), JITFunction.run, knobs.runtime.jit_cache_hook

    def compile_only(self: Any, *arguments: Any, grid: Any, warmup: bool, **options: Any) -> Any:
        return run(self, *arguments, grid=grid, warmup=True, **options)

    JITFunction.run, knobs.runtime.jit_cache_hook = compile_only, requested.note
    try:
        yield requested
    finally:
        JITFunction.run, knobs.runtime.jit_cache_hook = run, hook
