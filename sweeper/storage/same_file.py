"""Checks that an open file is still the file at its path.

If the file of a database is deleted, moved or replaced while it is open, writing to it succeeds, but nobody will find
what is written. So ``sqlite_file`` and ``journal`` check before they write.
"""

from __future__ import annotations

import errno
from pathlib import Path


class FileGoneError(OSError):
    """The file is no longer at its path. If it is put back, it can be used again."""

    def __str__(self) -> str:
        return f"{self.filename} {self.strerror}"


class SameFile:
    """Remembers which file is at a path now."""

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        self._identity = _identity(self._path)

    def check(self) -> None:
        """Raises FileGoneError if the file is no longer there, or if another file is."""
        if (found := _identity(self._path)) != self._identity:
            how = "was deleted or moved away" if found is None else "was replaced by another file"
            raise FileGoneError(errno.ESTALE, f"{how} while it was in use", str(self._path))


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino
