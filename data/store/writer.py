"""Writes a store's arrays piece by piece, so that what is prepared need never fit in memory."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
from numpy.lib import format as npy

from mdaf.atomic import fsync_folder
from mdaf.data.store.vocabulary import Vocabulary


class _GrowingArray:
    """A one-dimensional .npy file that grows; its header says how long it is once it is closed."""

    def __init__(self, path: Path, dtype: np.dtype) -> None:
        self.dtype = dtype
        self.length = 0
        self._file: BinaryIO = path.open("wb")
        self._path = path
        self._write_header()
        self._header_bytes = self._file.tell()

    def _write_header(self) -> None:
        # numpy pads the header for the digits of a growing first axis: its size is the same for every length.
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
    """The arrays of a store that is being written to ``folder``; a context manager.

    Every method appends, so a source can hand over its log in as many pieces as it likes; the pieces of the arrays of
    one kind must be given in the same order.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
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
        """Where each user's events begin, and the number of all events at the end, (users + 1,)."""
        self._append("user_offsets", offsets, np.int64)

    def users_of(self, users: np.ndarray) -> None:
        """The user whose events each range of ``user_offsets`` holds, (ranges,); the range's number, unless given."""
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
        ``probability``  the true click probability, where the log is made up and it is known.
        """
        self._append(f"{split}.user", user, np.int32)
        self._append(f"{split}.end", end, np.int64)
        self._append(f"{split}.time", time, np.int64)
        self._append(f"{split}.label", label, np.uint8)
        for name, values in static.items():
            self._append(f"{split}.static.{name}", values, np.int32)
        if probability is not None:
            self._append(f"{split}.probability", probability, np.float32)

    def vocabulary(self, table: str, vocabulary: Vocabulary) -> None:
        """The raw value of each code of a table, so that results can be read back."""
        values = vocabulary.to_numpy()
        self._append(f"vocabulary.{table}", values, values.dtype)

    def read(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """A part of what an array holds so far, read from its file."""
        array = self._arrays[name]
        return array.read(start, array.length if stop is None else min(stop, array.length))

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        """A folder for what must wait on disk while the store is written, gone afterwards."""
        with tempfile.TemporaryDirectory(prefix="workspace-", dir=self.folder) as folder:
            yield Path(folder)

    @property
    def lengths(self) -> dict[str, int]:
        """Elements of each array so far."""
        return {name: array.length for name, array in self._arrays.items()}
