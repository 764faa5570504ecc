"""Hashes of the files that a store is made of: remembered beside the stores, and compared with what is read later.

A log of gigabytes takes minutes to read, and its content decides at every start which store belongs to it. A store is
named after the hash and made of rows that are read afterwards, so the two must come from the same bytes.
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
REMEMBERED_BYTES = 1 << 28  # of a smaller file the hash is computed again in a moment
BLOCK = 1 << 22
_SETTLED_SECONDS = 5.0  # since a file's last change; one that comes sooner might bear the same time
_TICK_SECONDS = 0.02  # within which the system may write down the same time for two changes
_COARSE_TICK_SECONDS = 2.0  # where a file system keeps whole seconds
_HASH = re.compile(r"[0-9a-f]{32}")

_known: dict[str, str] = {}  # of this process
_watching: ContextVar[FileHashes | None] = ContextVar("_watching", default=None)


@dataclass
class _Hashed:
    """A file as it was when it was hashed.

    ``certain``   whether any later change shows in its state.
    ``compared``  whether a pass over the file read these very bytes.
    """

    state: str
    hash: str
    certain: bool
    remembered: bool
    compared: bool = False


class FileHashes:
    """Hashes files for a fingerprint; ``root`` is where the stores lie, None remembers nothing beyond this process."""

    def __init__(self, root: Path | None = None, progress: Progress = silent) -> None:
        self._root = root
        self._progress = progress
        self._hashed: dict[Path, _Hashed] = {}

    def of(self, files: Sequence[Path]) -> list[dict[str, Any]]:
        """What identifies each file's content, wherever it lies: its bytes and their BLAKE2b. DataError if one cannot
        be read, or changes meanwhile."""
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
        """Within it the hashed files are read; DataError, also in place of another error, if one of them is no longer
        the file that was hashed."""
        token = _watching.set(self)
        try:
            yield
        except Exception:  # half of one file and half of another look damaged: that it changed says more
            self._refuse_changed()
            raise
        finally:
            _watching.reset(token)
        self._refuse_changed()

    def compare(self, file: Path, found: str) -> None:
        """DataError unless ``found``, the hash of the bytes that a pass over the file gave, is the file's."""
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
            # Another file may have been in its place meanwhile, which only a pass that was compared rules out.
            if not (same or hashed.compared) or _read(file, lambda read: None) != hashed.hash:
                raise self._changed(file, hashed)

    def _changed(self, file: Path, hashed: _Hashed) -> DataError:
        """The error to raise; what is remembered of the file is forgotten."""
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
        """The hash of a file, read unless it is as it was when it was last read."""
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
        """Adds to what is remembered. Of two processes that do so at once one may be forgotten, and reads again."""
        self._write({**self._remembered(), **found})

    def _write(self, remembered: dict[str, str]) -> None:
        if self._root is None:
            return
        draft = self._root / f"{NAME}.{os.getpid()}"
        with contextlib.suppress(OSError):  # where nothing can be written, building the store says so
            self._root.mkdir(parents=True, exist_ok=True)
            try:
                draft.write_text(json.dumps(remembered, indent=1), encoding="utf-8")
                draft.replace(self._root / NAME)
            finally:
                draft.unlink(missing_ok=True)


def as_hashed(file: Path, blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The blocks of a whole file, as they come. While a store is prepared they must be the bytes that the store's name
    comes from: DataError behind the last block if they are not."""
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
    """What changes when a file does: also the time of its change that no program can set."""
    return f"{file.absolute()}:{stat.st_ino}:{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ctime_ns}"


def _is_certain(stat: os.stat_result) -> bool:
    """Whether any change from now on shows in a file's state."""
    return time.time() - stat.st_mtime > _SETTLED_SECONDS and any_change_shows(stat)


def any_change_shows(stat: os.stat_result) -> bool:
    """Whether a file's last change, of which no program can set the time, is so old that the next one bears another.

    Waits for the clock's next tick where that is all that is missing.
    """
    age = time.time() - stat.st_ctime
    if stat.st_ctime_ns % 1_000_000_000 == 0:
        return age > _COARSE_TICK_SECONDS
    if 0 <= age <= _TICK_SECONDS:
        time.sleep(_TICK_SECONDS)
    return age >= 0


def _stat(file: Path) -> os.stat_result:
    """What the system says of a file now: opening it makes a network file system ask its server."""
    try:
        with file.open("rb") as content:
            return os.fstat(content.fileno())
    except OSError as error:
        raise unreadable(file, error) from None


def unreadable(file: Path, error: OSError) -> DataError:
    """The error of a file that the system does not let us read."""
    return DataError(f"{file} cannot be read: {error.strerror}")
