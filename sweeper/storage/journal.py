"""Optuna's journal file, made safe against a full disk and against writers that are killed: no line is lost."""

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
    """A journal that waits while its disk is full, or while its network file system is away.

    A line is in the file either completely or not at all. If a writer is killed within a line, or has no room for it,
    the next writer cuts the incomplete line off. Nobody has read it, since readers wait for the end of a line.
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
            complete = _end_of_last_line(file)
            file.truncate(complete)
            file.seek(complete)
            try:
                file.write(lines)
                file.flush()
                os.fsync(file.fileno())
            except BaseException:
                _truncate(self.path, complete)
                raise


def open_journal(path: Path, url: str) -> JournalStorage:
    """The storage whose journal is the file ``path``. The file is created if it does not exist."""
    return JournalStorage(RetryingJournal(path, url))


def _end_of_last_line(file: Any) -> int:
    """The offset in bytes at which the last complete line of a file ends."""
    end = file.seek(0, os.SEEK_END)
    while end > 0:
        start = max(0, end - 4096)
        file.seek(start)
        if (found := file.read(end - start).rfind(b"\n")) >= 0:
            return start + found + 1
        end = start
    return 0


def _truncate(path: str, size: int) -> None:
    """Cuts the file off after ``size`` bytes."""
    os.truncate(path, size)
