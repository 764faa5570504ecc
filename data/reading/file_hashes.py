"""Hashes the raw files of a store, remembers the hashes, and checks that the same bytes are read later.

At every start the content of a log decides which store belongs to it. Reading a log of gigabytes takes minutes, so
hashes are remembered in a file next to the stores. A store is named after the hash, and built from rows that are read
after hashing. So this module also checks that the file has not changed in between.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mdaf.errors import DataError
from mdaf.terminal.progress import Progress, between, silent

NAME = ".hashes.json"
REMEMBERED_BYTES = 1 << 28  # hashes of smaller files are not remembered, since computing them is fast
BLOCK = 1 << 22
_SETTLED_SECONDS = 5.0  # after a file's last change; a second change within this time might have the same time stamp
_TICK_SECONDS = 0.02  # two changes within this time may have the same time stamp
_COARSE_TICK_SECONDS = 2.0  # the same on a file system with time stamps of whole seconds
_HASH = re.compile(r"[0-9a-f]{32}")

_known: dict[str, str] = {}  # of this process
_watching: ContextVar[FileHashes | None] = ContextVar("_watching", default=None)


@dataclass
class _Hashed:
    """A file at the time when it was hashed.

    ``state``       from ``_state``: its size, times and number.
    ``certain``     whether any later change of the file changes its state.
    ``remembered``  whether the hash was remembered, not computed.
    ``compared``    whether the file was read completely after that, with the same hash.
    """

    state: str
    hash: str
    certain: bool
    remembered: bool
    compared: bool = False


class FileHashes:
    """Hashes files for the fingerprint of a source.

    ``root``  the folder of stores, in which hashes are remembered; None: they are remembered only in this process.
    """

    def __init__(self, root: Path | None = None, progress: Progress = silent) -> None:
        self._root = root
        self._progress = progress
        self._hashed: dict[Path, _Hashed] = {}

    def of(self, files: Sequence[Path]) -> list[dict[str, Any]]:
        """The size in bytes and the BLAKE2b hash of each file, which identify its content in any folder.

        Raises DataError if a file cannot be read, or changes while it is hashed.
        """
        found, done = [], 0
        total = sum(_stat(file).st_size for file in files) or 1
        for file in files:
            stat = _stat(file)
            part = between(self._progress, done / total, (done + stat.st_size) / total)
            self._hashed[file] = self._hash(file, stat, part)
            found.append({"bytes": stat.st_size, "blake2b": self._hashed[file].hash})
            done += stat.st_size
        return found

    @contextmanager
    def watched(self) -> Iterator[None]:
        """A context in which the hashed files are read.

        Raises DataError at its end if a file is no longer the one that was hashed. This replaces any other error.
        """
        token = _watching.set(self)
        try:
            yield
        except Exception:  # a file that changes while it is read looks damaged, so its change is the better message
            self._refuse_changed()
            raise
        finally:
            _watching.reset(token)
        self._refuse_changed()

    def compare(self, file: Path, found: str) -> None:
        """Raises DataError if ``found``, the hash of the bytes that were read, is not the file's hash."""
        hashed = self._hashed[file]
        if found != hashed.hash:
            raise self._changed(file, hashed)
        hashed.compared = True

    def knows(self, file: Path) -> bool:
        """Whether the file has been hashed."""
        return file in self._hashed

    def _refuse_changed(self) -> None:
        for file, hashed in self._hashed.items():
            same = _state(file, _stat(file)) == hashed.state
            if same and (hashed.certain or hashed.compared):
                continue
            # The file may have been replaced for a time, unless it was read completely and compared.
            if not (same or hashed.compared) or _read(file, lambda read: None) != hashed.hash:
                raise self._changed(file, hashed)

    def _changed(self, file: Path, hashed: _Hashed) -> DataError:
        """Forgets the file's hash, and returns the error to raise."""
        self._forget(hashed.state)
        if hashed.remembered and _state(file, _stat(file)) == hashed.state:
            kept = f" in {self._root / NAME}" if self._root else ""
            return DataError(
                f"{file}: its content is not what was remembered of it{kept}, which is forgotten now; type the same "
                "command again"
            )
        return DataError(
            f"{file} changed while it was read: expected the same content from the first byte to the last; wait until "
            "nothing writes to it, or copy it, and type the same command again"
        )

    def _hash(self, file: Path, stat: os.stat_result, progress: Progress) -> _Hashed:
        """The hash of a file. The file is not read if its state is the same as when it was last hashed."""
        state = _state(file, stat)
        if (known := _known.get(state) or self._remembered().get(state)) is not None:
            _known[state] = known
            return _Hashed(state, known, certain=True, remembered=True)
        certain = _is_certain(stat)
        hashed = _read(file, lambda read: progress(f"hashing {file.name}", read / max(stat.st_size, read)))
        found = _Hashed(state, hashed, certain, remembered=False)
        if _state(file, _stat(file)) != state:
            raise self._changed(file, found)
        if certain:
            _known[state] = hashed
            if stat.st_size >= REMEMBERED_BYTES:
                self._remember({state: hashed})
        return found

    def _remembered(self) -> dict[str, str]:
        if self._root is None:
            return {}
        try:
            content = json.loads((self._root / NAME).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        if not isinstance(content, dict):
            return {}
        return {state: hashed for state, hashed in content.items() if _HASH.fullmatch(str(hashed))}

    def _forget(self, state: str) -> None:
        _known.pop(state, None)
        if state in (others := self._remembered()):
            del others[state]
            self._write(others)

    def _remember(self, found: dict[str, str]) -> None:
        """Adds to the remembered hashes. If two processes do so at the same time, one may have to hash again later."""
        self._write({**self._remembered(), **found})

    def _write(self, remembered: dict[str, str]) -> None:
        if self._root is None:
            return
        draft = self._root / f"{NAME}.{os.getpid()}"
        with contextlib.suppress(OSError):  # if the folder cannot be written to, building the store raises an error
            self._root.mkdir(parents=True, exist_ok=True)
            try:
                draft.write_text(json.dumps(remembered, indent=1), encoding="utf-8")
                draft.replace(self._root / NAME)
            finally:
                draft.unlink(missing_ok=True)


def as_hashed(file: Path, blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The blocks of a whole file, unchanged.

    Within ``FileHashes.watched`` they must be the bytes that were hashed. If they are not, raises DataError after the
    last block.
    """
    hashes = _watching.get()
    if hashes is None or not hashes.knows(file):
        yield from blocks
        return
    digest = hashlib.blake2b(digest_size=16)
    for block in blocks:
        digest.update(block)
        yield block
    hashes.compare(file, digest.hexdigest())


def _read(file: Path, tell: Callable[[int], None]) -> str:
    digest, read = hashlib.blake2b(digest_size=16), 0
    try:
        with file.open("rb") as content:
            while block := content.read(BLOCK):
                digest.update(block)
                read += len(block)
                tell(read)
    except OSError as error:
        raise unreadable(file, error) from None
    return digest.hexdigest()


def _state(file: Path, stat: os.stat_result) -> str:
    """A text that changes when the file does. It contains the time of its last change that programs cannot set."""
    return f"{file.absolute()}:{stat.st_ino}:{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ctime_ns}"


def _is_certain(stat: os.stat_result) -> bool:
    """Whether any later change of a file changes its state."""
    return time.time() - stat.st_mtime > _SETTLED_SECONDS and any_change_shows(stat)


def any_change_shows(stat: os.stat_result) -> bool:
    """Whether the file's last change is so old that the next change gets another time stamp.

    That time stamp is the one that programs cannot set. If only the clock's next tick is missing, waits for it.
    """
    age = time.time() - stat.st_ctime
    if stat.st_ctime_ns % 1_000_000_000 == 0:
        return age > _COARSE_TICK_SECONDS
    if 0 <= age <= _TICK_SECONDS:
        time.sleep(_TICK_SECONDS)
    return age >= 0


def _stat(file: Path) -> os.stat_result:
    """A file's size and times now. The file is opened first, so that a network file system asks its server."""
    try:
        with file.open("rb") as content:
            return os.fstat(content.fileno())
    except OSError as error:
        raise unreadable(file, error) from None


def size_of(file: Path) -> int:
    """A file's size in bytes. Raises DataError if the file cannot be read."""
    return _stat(file).st_size


def unreadable(file: Path, error: OSError) -> DataError:
    """The error to raise if the system cannot read a file."""
    return DataError(f"{file} cannot be read: {error.strerror}")
