"""Verifies that a store's files hold what was written: sizes at every opening, content if it may have changed.

The manifest contains the CRC-32 of each file. The content is verified when a store is opened for the first time in its
folder, and whenever a file has changed since. ``verified.json``, next to the manifest, records which files were
verified, and the state of each (number, size, times). Programs cannot set these times back.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mdaf.data.reading.file_hashes import any_change_shows
from mdaf.data.store.manifest import REMEDY
from mdaf.errors import DamagedStoreError
from mdaf.hardware import cores

STAMP = "verified.json"
_BLOCK = 1 << 22
_THREADS = 8

_verified: set[tuple[str, str]] = set()  # files and states verified by this process, if no stamp can be written


def states_of(folder: Path, files: Mapping[str, int]) -> dict[str, str]:
    """The state of each file.

    Raises DamagedStoreError if a file is missing or has not the size in ``files``, and OSError if the system cannot
    access it.
    """
    return {name: _state(folder / name, size) for name, size in files.items()}


def checksums_of(folder: Path, names: Iterable[str]) -> dict[str, int]:
    """The CRC-32 of each file. Several files are read at the same time."""
    names = list(names)
    with ThreadPoolExecutor(min(_THREADS, len(cores.usable()))) as pool:
        return dict(zip(names, pool.map(lambda name: _crc32(folder / name), names), strict=True))


def unverified(folder: Path, states: Mapping[str, str]) -> list[str]:
    """The files whose state has changed since they were last verified, or that never were."""
    stamp = _stamp(folder)
    return [name for name, state in states.items() if not _is_known(folder, name, state, stamp)]


def compare_checksums(folder: Path, expected: Mapping[str, int], names: Iterable[str]) -> None:
    """Raises DamagedStoreError for the first file whose checksum is not the expected one."""
    for name, found in checksums_of(folder, names).items():
        if found != expected[name]:
            raise DamagedStoreError(
                f"{folder / name} holds other bytes than were written: its checksum is {found:08x}, the manifest says "
                f"{expected[name]:08x}: the store is damaged",
                REMEDY,
            )


@contextmanager
def stamped(folder: Path, states: Mapping[str, str]) -> Iterator[None]:
    """A context in which the files are verified. At its end it records that they were, with their states."""
    certain = all(any_change_shows(os.stat(folder / name)) for name in states)
    yield
    if certain:
        _verified.update((str(folder / name), state) for name, state in states.items())
        _write_stamp(folder, states)


def _write_stamp(folder: Path, states: Mapping[str, str]) -> None:
    with contextlib.suppress(OSError):  # if the store cannot be written to, each process verifies it
        descriptor, draft = tempfile.mkstemp(prefix=f".{STAMP}-", dir=folder)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(dict(states), file, indent=1)
            os.chmod(draft, 0o644)
            os.replace(draft, folder / STAMP)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(draft)


def _is_known(folder: Path, name: str, state: str, stamp: Mapping[str, Any]) -> bool:
    return stamp.get(name) == state or (str(folder / name), state) in _verified


def _stamp(folder: Path) -> Mapping[str, Any]:
    try:
        content = json.loads((folder / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _state(path: Path, size: int) -> str:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        if path.is_symlink():  # its target is not available at the moment
            raise
        raise DamagedStoreError(
            f"{path} is missing, its manifest says {size:,} bytes: the store is damaged", REMEDY
        ) from None
    if not stat.S_ISREG(found.st_mode) or found.st_size != size:
        is_now = f"has {found.st_size:,} bytes" if stat.S_ISREG(found.st_mode) else "is no file"
        raise DamagedStoreError(f"{path} {is_now}, its manifest says {size:,}: the store is damaged", REMEDY)
    return f"{found.st_ino}:{found.st_size}:{found.st_mtime_ns}:{found.st_ctime_ns}"


def _crc32(path: Path) -> int:
    crc = 0
    buffer = memoryview(bytearray(_BLOCK))
    with path.open("rb", buffering=0) as file:
        while read := file.readinto(buffer):
            crc = zlib.crc32(buffer[:read], crc)
    return crc
