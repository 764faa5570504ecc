"""A lock between processes that need the same compiled code: one compiles it, the others find it on disk."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]

_LONGEST_WAIT = 120.0  # seconds; compiling takes less


class CompileLock:
    """Its holder compiles. The system releases it if the holder dies.

    Within a process numba lets one thread compile at a time.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self, waiting: Callable[[], None] = lambda: None) -> bool:
        """Waits for the lock. False if the file system has no locks, or after ``_LONGEST_WAIT`` seconds.

        ``waiting`` is called again and again; what it raises ends the wait.
        """
        self.release()  # compiling may have failed before
        if fcntl is None:
            return False
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError:
            return False
        until = time.monotonic() + _LONGEST_WAIT
        while time.monotonic() < until:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                time.sleep(0.05)
            except OSError:  # a file system without locks
                break
            else:
                return True
        self.release()
        return False

    def release(self) -> None:
        """Releases the lock, if this process holds it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
