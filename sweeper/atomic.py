"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from data.durability import fsync_folder


def write_atomically(
    path: Path, write: Callable[[BinaryIO], Any], put_in_place: Callable[[Path, Path], Any] = Path.replace
) -> None:
    """Calls ``write`` with a file beside ``path``, then puts it in place: at no moment is ``path`` half written.

    Content and name are on the disk when it returns, so they survive a power cut.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        put_in_place(beside, path)
        fsync_folder(path.parent)
    finally:
        beside.unlink(missing_ok=True)
