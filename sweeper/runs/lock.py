"""The lock of a run folder: only one process at a time may work in it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mdaf.errors import UserError
from mdaf.processes.identity import this_process
from mdaf.processes.interruption import how_to_choose_a_folder

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]

NAME = ".lock"


class LockedError(UserError):
    """Another process works in the folder."""


def check_free(folder: Path) -> None:
    """LockedError if another process holds the folder's lock."""
    if (folder / NAME).exists():
        with locked(folder):
            pass


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the folder's lock; LockedError if another process does. The system releases the lock of a dead process."""
    if fcntl is None:
        yield
        return
    path = folder / NAME
    descriptor = _lock(path)
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, this_process().encode())
        yield
    finally:
        path.unlink(missing_ok=True)  # before the lock is released: a waiting process sees that the file is gone
        os.close(descriptor)


def _lock(path: Path) -> int:
    """Opens and locks the file at ``path``; returns its descriptor."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(descriptor, path):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            raise LockedError(
                f"{path.parent}: another process works in this folder ({_holder(path)}); wait for it or end it, or "
                f"choose another folder with {how_to_choose_a_folder()}"
            ) from None
        except OSError:  # a file system without locks: go on without one
            return descriptor
        os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether the file is still at ``path``: the previous holder of the lock removes it at the end."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    return False


def _holder(path: Path) -> str:
    try:
        return path.read_text() or "which has just begun"
    except OSError:
        return "which is just ending"
