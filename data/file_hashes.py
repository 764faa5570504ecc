"""Hashes of the files that a store is made of: told while they are computed, and remembered beside the stores.

A log of gigabytes takes minutes to read, and which store is its own depends on its content at every start.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from data.errors import DataError
from data.progress import Progress, between, silent

NAME = ".hashes.json"
REMEMBERED_BYTES = 1 << 28  # of a smaller file the hash is computed again in a moment
BLOCK = 1 << 22
_SETTLED_SECONDS = 5.0  # since a file's last change; one that comes sooner might bear the same time

_known: dict[str, str] = {}  # of this process


class FileHashes:
    """Hashes files for a fingerprint; ``root`` is where the stores lie, None remembers nothing beyond this process."""

    def __init__(self, root: Path | None = None, progress: Progress = silent) -> None:
        self._root = root
        self._progress = progress

    def of(self, files: Sequence[Path]) -> list[dict[str, Any]]:
        """What identifies each file's content, wherever it lies: its bytes and their BLAKE2b. DataError if one cannot
        be read."""
        found, done = [], 0
        total = sum(_size(file) for file in files) or 1
        for file in files:
            size = _size(file)
            part = between(self._progress, done / total, (done + size) / total)
            found.append({"bytes": size, "blake2b": self._hash(file, size, part)})
            done += size
        return found

    def _hash(self, file: Path, size: int, progress: Progress) -> str:
        """The hash of a file, read unless it is as it was when it was last read."""
        state = _state(file)
        if (known := _known.get(state) or self._remembered().get(state)) is not None:
            _known[state] = known
            return known
        settled = time.time() - _stat(file).st_mtime > _SETTLED_SECONDS
        hashed = _read(file, lambda read: progress(f"hashing {file.name}", read / max(size, read)))
        if settled and _state(file) == state:
            _known[state] = hashed
            if size >= REMEMBERED_BYTES:
                self._remember(state, hashed)
        return hashed

    def _remembered(self) -> dict[str, str]:
        if self._root is None:
            return {}
        try:
            content = json.loads((self._root / NAME).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return {k: v for k, v in content.items() if isinstance(v, str)} if isinstance(content, dict) else {}

    def _remember(self, state: str, hashed: str) -> None:
        """Adds to what is remembered. Of two processes that do so at once one may be forgotten, and reads again."""
        if self._root is None:
            return
        beside = self._root / f"{NAME}.{os.getpid()}"
        with contextlib.suppress(OSError):  # where nothing can be written, building the store says so
            self._root.mkdir(parents=True, exist_ok=True)
            try:
                beside.write_text(json.dumps({**self._remembered(), state: hashed}, indent=1), encoding="utf-8")
                beside.replace(self._root / NAME)
            finally:
                beside.unlink(missing_ok=True)


def _read(file: Path, tell: Callable[[int], None]) -> str:
    digest, read = hashlib.blake2b(digest_size=16), 0
    try:
        with file.open("rb") as content:
            while block := content.read(BLOCK):
                digest.update(block)
                read += len(block)
                tell(read)
    except OSError as error:
        raise _unreadable(file, error) from None
    return digest.hexdigest()


def _state(file: Path) -> str:
    """What changes when a file does: also the time of its change that no program can set."""
    stat = _stat(file)
    return f"{file.absolute()}:{stat.st_ino}:{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ctime_ns}"


def _size(file: Path) -> int:
    return _stat(file).st_size


def _stat(file: Path) -> os.stat_result:
    try:
        return file.stat()
    except OSError as error:
        raise _unreadable(file, error) from None


def _unreadable(file: Path, error: OSError) -> DataError:
    return DataError(f"{file} cannot be read: {error.strerror}")
