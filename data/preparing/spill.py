"""Keeps rows in temporary files between reading the raw file and writing the store, so that memory stays bounded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import polars as pl

GIGABYTE = 1_000_000_000
OWNER, TIME = "#owner", "#time"  # fields of every record; no field of a log has such a name
TRAINED = "#trained"  # whether an event is of training
_BYTES_WHILE_SORTED = 200  # for each event: itself, its sort keys, the copies made by sorting
_TEXT_SHARE = 100  # parsing a block of text takes this many times its size in memory


def rows_at_once(memory_gb: float) -> int:
    """How many events may be sorted at once. Half of the memory is left for vocabularies and everything else."""
    return max(1, int(memory_gb * GIGABYTE / 2 / _BYTES_WHILE_SORTED))


def block_bytes(memory_gb: float) -> int:
    """How many bytes of a raw file are read at once."""
    return int(min(max(memory_gb * GIGABYTE / _TEXT_SHARE, 1 << 16), 1 << 25))


class SpilledFrames:
    """Data frames in files of one folder, in the order in which they were appended."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._files: list[Path] = []
        self.rows = 0

    def append(self, frame: pl.DataFrame) -> None:
        """Writes a frame after the others; all have the same columns."""
        if len(frame):
            self._files.append(self._folder / f"{len(self._files)}.arrow")
            frame.write_ipc(self._files[-1])
            self.rows += len(frame)

    def __len__(self) -> int:
        """How many frames there are."""
        return len(self._files)

    def __iter__(self) -> Iterator[pl.DataFrame]:
        for file in self._files:
            yield pl.read_ipc(file)


class UserRanges:
    """Records in files of one folder, one file for each range of users, so that a range fits in memory.

    ``cuts``   the first user of each range but the first, ascending.
    ``dtype``  the type of a record; its field ``OWNER``, a user's index, decides the range.

    The records of a range keep the order in which they were appended.
    """

    def __init__(self, folder: Path, dtype: np.dtype, cuts: np.ndarray) -> None:
        folder.mkdir(parents=True)
        self._dtype = dtype
        self._cuts = cuts
        self._paths = [folder / str(number) for number in range(len(cuts) + 1)]

    def append(self, records: np.ndarray) -> None:
        """Adds records (rows,) to the ranges of their users."""
        number = np.searchsorted(self._cuts, records[OWNER], side="right")
        if len(self._cuts):
            order = np.argsort(number, kind="stable")
            records, number = records[order], number[order]
        starts = np.searchsorted(number, np.arange(len(self._paths) + 1))
        for path, start, stop in zip(self._paths, starts, starts[1:], strict=False):
            if start < stop:
                with path.open("ab") as file:
                    records[start:stop].tofile(file)

    def __len__(self) -> int:
        """How many ranges there are."""
        return len(self._paths)

    def take(self, number: int) -> np.ndarray:
        """Reads the records of a range and deletes their file."""
        path = self._paths[number]
        if not path.exists():
            return np.empty(0, dtype=self._dtype)
        records = np.fromfile(path, dtype=self._dtype)
        path.unlink()
        return records


def cuts_of(events: np.ndarray, most: int) -> np.ndarray:
    """The first user of each range but the first, int64, so that a range holds at most ``most`` events (or one user).

    ``events``  each user's number of events, (users,).
    """
    before = np.concatenate([[0], np.cumsum(events)])
    cuts: list[int] = []
    start = 0
    while before[-1] - before[start] > most:
        stop = int(np.searchsorted(before, before[start] + most, side="right")) - 1
        start = max(stop, start + 1)
        if start >= len(events):
            break
        cuts.append(start)
    return np.array(cuts, dtype=np.int64)


def record_type(columns: Mapping[str, np.dtype | type]) -> np.dtype:
    """The type of a ``UserRanges``' records with some columns in addition to ``OWNER`` and ``TIME``."""
    return np.dtype([(OWNER, np.int32), (TIME, np.int64), *columns.items()])


def records_of(dtype: np.dtype, columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """Records (rows,) from their columns."""
    records = np.empty(len(columns[OWNER]), dtype=dtype)
    for name, values in columns.items():
        records[name] = values
    return records
