"""Locks of folders: users of a folder hold a shared lock; a process needs an exclusive lock to remove the folder.

The system releases the locks of a process that dies. A folder does not count as free if it cannot be locked, or if
another machine, whose locks are not visible here, may use it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]

# File systems that only one machine can use.
_LOCAL = frozenset({"bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "ramfs", "tmpfs", "xfs", "zfs"})


@dataclass
class Hold:
    """The shared lock on a folder, one for all users of the folder in this process."""

    descriptor: int
    users: int = 0

    def release(self) -> None:
        """Ends one use; the last one releases the lock."""
        with _mutex:
            self.users -= 1
            if not self.users:
                _held.pop(_key(self.descriptor), None)
                os.close(self.descriptor)


_held: dict[tuple[int, int], Hold] = {}
_mutex = threading.RLock()  # the garbage collector may release a store in any thread


def hold(folder: Path) -> Hold | None:
    """Makes this process a user of the folder until ``release``; None if the folder cannot be locked."""
    if fcntl is None:
        return None
    with contextlib.suppress(OSError), _mutex:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        if (held := _held.get(_key(descriptor))) is not None:
            os.close(descriptor)
        elif _lock(descriptor, fcntl.LOCK_SH):
            held = _held[_key(descriptor)] = Hold(descriptor)
        else:
            os.close(descriptor)
            return None
        held.users += 1
        return held
    return None


@contextmanager
def alone_in(folder: Path, own_users_count: bool = True) -> Iterator[bool | None]:
    """Whether the folder has no other user, now and until the context ends; None if that is unknown."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except (OSError, AttributeError):  # Windows opens no folders
        yield None
        return
    with _mutex:
        held = None if own_users_count else _held.get(_key(descriptor))
        locked = held.descriptor if held else descriptor
        try:
            yield _lock(locked, fcntl.LOCK_EX) if fcntl is not None else None
        finally:
            if held:
                _lock(locked, fcntl.LOCK_SH)
            os.close(descriptor)


def _key(descriptor: int) -> tuple[int, int]:
    stat = os.fstat(descriptor)
    return stat.st_dev, stat.st_ino


def _lock(descriptor: int, kind: int) -> bool | None:
    """Whether the descriptor got the lock; None on a file system without locks."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def is_local(folder: Path) -> bool:
    """Whether only this machine can use the folder's file system."""
    try:
        device = os.stat(folder).st_dev
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    number = f"{os.major(device)}:{os.minor(device)}"
    kinds = {line.partition(" - ")[2].split(" ")[0] for line in mounts if line.split(" ")[2] == number}
    return bool(kinds) and kinds <= _LOCAL


def machine() -> str:
    """Eight hex digits that identify this machine since its last boot."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        boot = ""
    return hashlib.blake2b(f"{socket.gethostname()} {boot}".encode(), digest_size=4).hexdigest()
