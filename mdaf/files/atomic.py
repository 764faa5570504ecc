"""Writes files and exchanges folders atomically, safe against crashes of the process and of the machine."""

from __future__ import annotations

import ctypes
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def write_atomically(
    path: Path, write: Callable[[BinaryIO], Any], put_in_place: Callable[[Path, Path], Any] = Path.replace
) -> None:
    """Calls ``write`` with a temporary file in the folder of ``path``, then renames it to ``path``.

    So ``path`` is never half written. Content and name are on the disk when it returns and survive a power cut.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        put_in_place(draft, path)
        fsync_folder(path.parent)
    finally:
        draft.unlink(missing_ok=True)


def fsync_folder(folder: Path) -> None:
    """Writes the names in ``folder`` to the disk, on systems that can."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def exchange(one: Path, other: Path) -> None:
    """Exchanges the names of two files or folders on one file system; atomically, if the system can."""
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
