"""Optuna's journal file, such that a disk that is full for a while, or a writer that was killed, costs no line."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from optuna.storages import JournalStorage

from mdaf.sweeper.storage.optuna_internals import JournalFile
from mdaf.sweeper.storage.retrying import wait_for
from mdaf.sweeper.storage.same_file import SameFile


class RetryingJournal(JournalFile):
    """A journal whose file is waited for: on a full disk, or on a network file system that is away.

    A line is there whole or not at all. What a writer left that was killed within a line, or had no room for it, is
    cut off by the next one; nobody has read it, since readers wait for a line's end.
    """

    def __init__(self, path: Path, url: str) -> None:
        super().__init__(str(path))
        self._url, self._same = url, SameFile(path)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()
        wait_for(self._url, lambda: self._append(lines))

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        return iter(wait_for(self._url, lambda: list(self._read(log_number_from))))

    def _read(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        self._same.check()
        return super().read_logs(log_number_from)

    def _append(self, lines: bytes) -> None:
        self._same.check()
        with self.locked(), open(self.path, "r+b") as file:
            whole = _whole(file)
            file.truncate(whole)
            file.seek(whole)
            try:
                file.write(lines)
                file.flush()
                os.fsync(file.fileno())
            except BaseException:
                _cut(self.path, whole)
                raise


def open_journal(path: Path, url: str) -> JournalStorage:
    """The storage whose journal is at ``path``; the file is made if it is not there."""
    return JournalStorage(RetryingJournal(path, url))


def _whole(file: Any) -> int:
    """Where the last whole line of a file ends."""
    end = file.seek(0, os.SEEK_END)
    while end > 0:
        start = max(0, end - 4096)
        file.seek(start)
        if (found := file.read(end - start).rfind(b"\n")) >= 0:
            return start + found + 1
        end = start
    return 0


def _cut(path: str, size: int) -> None:
    """Takes away what was written after ``size``."""
    os.truncate(path, size)
