"""Names and content on the disk that are there or not, whatever happens to the power or to the process."""

from __future__ import annotations

import ctypes
import os
import tempfile
from pathlib import Path

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def fsync_folder(folder: Path) -> None:
    """Makes the names in ``folder`` survive a power cut, where the system can do that."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def exchange(one: Path, other: Path) -> None:
    """Two files or folders of one file system change names, at no moment without one where the system can do that."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if os.name == "posix" else None
    if renameat2 is not None:
        names = os.fsencode(one), os.fsencode(other)
        if renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0:
            return
    between = Path(tempfile.mkdtemp(prefix=f"{one.name}-", dir=one.parent)) / one.name
    other.rename(between)
    one.rename(other)
    between.rename(one)
    between.parent.rmdir()
