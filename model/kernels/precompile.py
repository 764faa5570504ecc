"""Triton's kernels compiled beside each other before any of them is run.

Triton compiles a kernel when it is first asked for, on one processor, while all else waits: half a minute and more for
the kernels of one model's training, on a machine that has not trained it before. Little of that is spent in Python, so
threads share it. Which kernels there are is found by going through a step in which none is run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any


class Asked:
    """The kernels that were asked for, and are not in this process's memory, each once."""

    def __init__(self) -> None:
        self._found: dict[str, Any] = {}  # what Triton calls a kernel's specialization data -> its function

    def __len__(self) -> int:
        return len(self._found)

    def note(self, *, fn: Any, compile: dict[str, Any], **_: Any) -> bool:
        """Triton's hook before a kernel is compiled; True: it is not."""
        self._found[compile["specialization_data"]] = fn.jit_function
        return True

    def compile(self, begin_thread: Callable[[], None]) -> None:
        """Compiles all of them for the current device, or loads them from Triton's cache on disk.

        ``begin_thread`` makes the device current in the thread that calls it. A kernel that cannot be compiled is left
        to say so where it is run.
        """
        if not self._found:
            return
        # Python's part is one thread's at a time: with one on every processor they mostly wait for each other.
        threads = min(len(self._found), max(2, (os.cpu_count() or 1) // 2))
        with ThreadPoolExecutor(threads, "compiling", begin_thread) as pool:
            wait([pool.submit(function.preload, data) for data, function in self._found.items()])


@contextmanager
def none_run() -> Iterator[Asked]:
    """Within it Triton's kernels are asked for and not run, so that what they would have written is left as it was."""
    from triton import knobs
    from triton.runtime.jit import JITFunction

    asked, run, hook = Asked(), JITFunction.run, knobs.runtime.jit_cache_hook

    def only_asked(self: Any, *arguments: Any, grid: Any, warmup: bool, **options: Any) -> Any:
        return run(self, *arguments, grid=grid, warmup=True, **options)

    JITFunction.run, knobs.runtime.jit_cache_hook = only_asked, asked.note
    try:
        yield asked
    finally:
        JITFunction.run, knobs.runtime.jit_cache_hook = run, hook
