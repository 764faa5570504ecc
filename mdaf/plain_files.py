"""Files that may have come from elsewhere: read only where they are files.

A pipe or a device by the name of a run's file would be waited for without end, or never come to one.
"""

from __future__ import annotations

import errno
import stat
from pathlib import Path

LARGEST_BYTES = 256 * 1024 * 1024  # of a text: the largest that a run leaves has a tenth


def plain(file: Path) -> Path:
    """The file itself, if it is a regular one or a link to one. OSError where it is something else, or not there."""
    if not stat.S_ISREG(file.stat().st_mode):
        raise OSError(errno.EINVAL, "it is no regular file", str(file))
    return file


def plain_text(file: Path) -> Path:
    """The same of a text, which is read whole. OSError where it is larger than any that a run leaves."""
    if plain(file).stat().st_size > LARGEST_BYTES:
        raise OSError(errno.EFBIG, f"it is larger than the {LARGEST_BYTES:,} bytes that one may have", str(file))
    return file
