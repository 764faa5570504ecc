"""Which files a command may replace: those of the kind that it writes. A file of any other kind stays as it is."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mdaf.errors import UserError

_MOST = 1 << 16  # bytes that are looked at
_PARQUET = b"PAR1"  # its first and its last bytes


@dataclass(frozen=True)
class Start:
    """How a file begins: its first bytes, unpacked, and of Parquet the first bytes of the part with the columns."""

    head: bytes
    footer: bytes = b""

    @property
    def first_line(self) -> str:
        return self.head.partition(b"\n")[0].rstrip(b"\r").decode(errors="replace")


def check_replaceable(path: Path, typed: str, kind: str, is_own: Callable[[Start], bool]) -> None:
    """UserError if ``path`` is there and a command that writes a ``kind`` may not replace it. An empty file it may.

    ``typed``   the option and its value, for the message.
    ``is_own``  whether a file that begins so is of the kind that the command writes.
    """
    if not path.exists():
        return
    if not path.is_file():
        raise UserError(f"{typed}: is {'a folder' if path.is_dir() else 'no file'}; expected the name of a file")
    start = _start_of(path)
    if start.head and not is_own(start):
        raise UserError(f"{typed}: is there already, and is no {kind}; choose another name, or remove that file first")


def _start_of(path: Path) -> Start:
    try:
        with path.open("rb") as file:
            head = file.read(_MOST)
            if not head.startswith(_PARQUET) or file.seek(0, 2) < 2 * len(_PARQUET) + 4:
                return Start(_unpacked(path) if head.startswith(b"\x1f\x8b") else head)
            file.seek(-len(_PARQUET) - 4, 2)
            length = int.from_bytes(file.read(4), "little")
            file.seek(-min(length + len(_PARQUET) + 4, file.tell() + len(_PARQUET)), 2)
            return Start(head, file.read(min(length, _MOST)))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None


def _unpacked(path: Path) -> bytes:
    try:
        with gzip.open(path) as file:
            return file.read(_MOST)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return b"damaged"
