"""A file that has to stay the one that was opened.

A database's file that is deleted, moved away or replaced while it is open takes what is written as before, and nobody
will find it. So whoever writes to one asks first whether it is still the file at its path.
"""

from __future__ import annotations

import errno
from pathlib import Path


class FileGoneError(OSError):
    """The file is not at its path. Put back, it is the same as before."""

    def __str__(self) -> str:
        return f"{self.filename} {self.strerror}"


class SameFile:
    """The file that is at a path now."""

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        self._identity = _identity(self._path)

    def check(self) -> None:
        """FileGoneError if it is not there any more, or another one is."""
        if (found := _identity(self._path)) != self._identity:
            how = "was deleted or moved away" if found is None else "was replaced by another file"
            raise FileGoneError(errno.ESTALE, f"{how} while it was in use", str(self._path))


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino
