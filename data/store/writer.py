"""Writes the arrays of a store part by part, so that a log need not fit in memory."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
import polars as pl
from numpy.lib import format as npy

from mdaf.data.schema import PADDING
from mdaf.data.store.cell_rows import CellRows, Fitted, Members
from mdaf.data.store.manifest import CELL_IDS, CELL_WEIGHTS, MEMBER_ENDS, MEMBERS, VOCABULARY, WORD_ENDS
from mdaf.data.store.vocabulary import Vocabulary
from mdaf.files.atomic import fsync_folder


class _GrowingArray:
    """A one-dimensional .npy file to which values are appended. Closing it writes its length to the header."""

    def __init__(self, path: Path, dtype: np.dtype) -> None:
        self.dtype = dtype
        self.length = 0
        self._file: BinaryIO = path.open("wb")
        self._path = path
        self._write_header()
        self._header_bytes = self._file.tell()

    def _write_header(self) -> None:
        # numpy pads the header so that it has the same size for every length.
        header = {"descr": npy.dtype_to_descr(self.dtype), "fortran_order": False, "shape": (self.length,)}
        npy.write_array_header_1_0(self._file, header)

    def append(self, values: np.ndarray) -> None:
        np.ascontiguousarray(values, dtype=self.dtype).tofile(self._file)
        self.length += len(values)

    def read(self, start: int, stop: int) -> np.ndarray:
        self._file.flush()
        offset = self._header_bytes + start * self.dtype.itemsize
        return np.fromfile(self._path, dtype=self.dtype, count=stop - start, offset=offset)

    def close(self) -> None:
        if not self._file.closed:
            self._file.flush()
            self._file.seek(0)
            self._write_header()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()


class StoreWriter:
    """Writes the arrays of a store to ``folder``. Use it in a ``with`` statement, whose end closes the files.

    ``positives``  how many samples of each split are clicked, so far.

    Every method appends, so a source can pass its log in any number of parts. The parts of arrays that belong together
    must be passed in the same order.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.positives: dict[str, int] = {}
        self._arrays: dict[str, _GrowingArray] = {}

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for array in self._arrays.values():
            array.close()
        fsync_folder(self.folder)

    def _append(self, name: str, values: np.ndarray, dtype: np.dtype | type) -> None:
        if name not in self._arrays:
            self._arrays[name] = _GrowingArray(self.folder / f"{name}.npy", np.dtype(dtype))
        self._arrays[name].append(values)

    def events(self, time: np.ndarray, codes: Mapping[str, np.ndarray]) -> None:
        """Events sorted by (user, time): unix seconds and the codes of each sequence field, (events,)."""
        self._append("events.time", time, np.int64)
        for name, values in codes.items():
            self._append(f"events.{name}", values, np.int32)

    def user_offsets(self, offsets: np.ndarray) -> None:
        """The position of each user's first event, and at the end the number of all events: (users + 1,)."""
        self._append("user_offsets", offsets, np.int64)

    def training_ends(self, ends: np.ndarray) -> None:
        """The position after the last training event of each user, if splits are not the same for all: (users,)."""
        self._append("training_ends", ends, np.int64)

    def users_of(self, users: np.ndarray) -> None:
        """The index of the user of each range of ``user_offsets``: (ranges,). By default it is the range's index."""
        self._append("users_of", users, np.int32)

    def samples(
        self,
        split: str,
        *,
        user: np.ndarray,
        end: np.ndarray,
        time: np.ndarray,
        label: np.ndarray,
        static: Mapping[str, np.ndarray],
        probability: np.ndarray | None = None,
    ) -> None:
        """Samples of a split, (samples,) each.

        ``user``         index into ``user_offsets``.
        ``end``          position of the user's first event that is not strictly before the sample.
        ``time``         unix seconds.
        ``static``       codes of each static field.
        ``probability``  the true click probability, which is known only for a synthetic log.
        """
        self.positives[split] = self.positives.get(split, 0) + int(np.count_nonzero(label))
        self._append(f"{split}.user", user, np.int32)
        self._append(f"{split}.end", end, np.int64)
        self._append(f"{split}.time", time, np.int64)
        self._append(f"{split}.label", label, np.uint8)
        for name, values in static.items():
            self._append(f"{split}.static.{name}", values, np.int32)
        if probability is not None:
            self._append(f"{split}.probability", probability, np.float32)

    def vocabulary(self, table: str, vocabulary: Vocabulary) -> None:
        """The raw value of each code of a table, by which results can be translated back.

        Words lie one behind the other, and where each ends in an array of its own: a long one makes none of the others
        longer.
        """
        if vocabulary.values.dtype.is_integer():
            numbers = vocabulary.values.to_numpy()
            self._append(f"{VOCABULARY}.{table}", numbers, numbers.dtype)
            return
        self._words(f"{VOCABULARY}.{table}", f"{WORD_ENDS}.{table}", vocabulary.values.cast(pl.String))

    def cell_rows(self, table: str, rows: CellRows, cells: pl.Series) -> Fitted:
        """The rows that the cells of a numeric or multi-valued field read, by the code of the cell.

        ``cells``  the values of the table's vocabulary, in the order of their codes.
        """
        missing = pl.Series([None], dtype=pl.String)
        ids, weights = rows.encode(pl.concat([missing, cells.cast(pl.String)]))
        width = ids.shape[1]
        self._append(f"{CELL_IDS}.{table}", np.concatenate([np.full(width, PADDING), ids.ravel()]), np.int32)
        self._append(f"{CELL_WEIGHTS}.{table}", np.concatenate([np.zeros(width), weights.ravel()]), np.float32)
        if isinstance(rows, Members):
            self._words(f"{MEMBERS}.{table}", f"{MEMBER_ENDS}.{table}", pl.Series(rows.values, dtype=pl.String))
        return Fitted(rows, width)

    def _words(self, name: str, ends: str, words: pl.Series) -> None:
        self._append(name, np.frombuffer("".join(words).encode(), dtype=np.uint8), np.uint8)
        self._append(ends, words.str.len_bytes().cum_sum().to_numpy(), np.int64)

    def read(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """The elements from ``start`` to ``stop`` of an array as written so far, read from its file."""
        array = self._arrays[name]
        return array.read(start, array.length if stop is None else min(stop, array.length))

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        """A folder for temporary files while the store is written. It is removed at the end of the context."""
        with tempfile.TemporaryDirectory(prefix="workspace-", dir=self.folder) as folder:
            yield Path(folder)

    @property
    def lengths(self) -> dict[str, int]:
        """The number of elements of each array so far."""
        return {name: array.length for name, array in self._arrays.items()}
