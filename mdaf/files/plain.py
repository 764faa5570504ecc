"""Checks of files that may come from elsewhere: only regular files of a reasonable size are read.

Reading a pipe or a device with the name of a run's file could wait or go on for ever.
"""

from __future__ import annotations

import errno
import stat
from pathlib import Path

LARGEST_BYTES = 256 * 1024 * 1024  # the largest text file of a run has a tenth of this size


def plain(file: Path) -> Path:
    """The file itself, if it is a regular file or a link to one; else OSError."""
    if not stat.S_ISREG(file.stat().st_mode):
        raise OSError(errno.EINVAL, "it is no regular file", str(file))
    return file


def plain_text(file: Path) -> Path:
    """Like ``plain`` for a text file, which is read completely. OSError also if it is larger than any file of a run."""
    if plain(file).stat().st_size > LARGEST_BYTES:
        raise OSError(errno.EFBIG, f"it is larger than the {LARGEST_BYTES:,} bytes that one may have", str(file))
    return file
