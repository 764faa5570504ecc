"""The event store: a folder of flat arrays and a manifest. No padded history is stored.

The events of all users are sorted by (user, time). A sample has its user and ``end``, the position of the user's first
event that is not strictly before the sample. So its history is ``events[max(user_offsets[user], end - length):end]``.
All fields hold codes (see ``mdaf.data.store.vocabulary``).
"""

from __future__ import annotations

import errno
import logging
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mdaf.data.reading.defects import Defects
from mdaf.data.schema import FIRST_ID, LIST, Schema
from mdaf.data.store.arrays import parts_of, read_part, read_parts
from mdaf.data.store.cell_rows import CellRows, Pairs, cell_rows
from mdaf.data.store.held_out import held_out
from mdaf.data.store.integrity.folder_locks import hold
from mdaf.data.store.integrity.ranges import check_ranges
from mdaf.data.store.integrity.verification import compare_checksums, stamped, states_of, unverified
from mdaf.data.store.manifest import (
    CELL_IDS,
    CELL_WEIGHTS,
    CRC32,
    FORMAT_VERSION,
    MANIFEST,
    MEMBER_ENDS,
    MEMBERS,
    REMEDY,
    SPLITS,
    VOCABULARY,
    WORD_ENDS,
    read_manifest,
)
from mdaf.errors import DamagedStoreError, DataError

__all__ = [
    "FORMAT_VERSION",
    "MANIFEST",
    "SPLITS",
    "EventStore",
    "Samples",
    "count_codes",
    "parts_of",
    "read_part",
    "read_parts",
]

log = logging.getLogger(__name__)

GAP_FIELD = "gap"  # sequence field that is computed from times while gathering, never stored
USER_TABLE = "user"  # a user's index (see users_of) is the user's code in this table minus FIRST_ID
MATCH_PREFIX = "match_"  # a match field is named after the sequence field that it compares
_TRIES = 5  # of reading the header of a file while other threads parse
_SMALL = 4096  # bytes: a smaller file is read, not mapped, since an empty array cannot be mapped


def count_codes(parts: Iterable[np.ndarray], least: int = 0) -> np.ndarray:
    """How often each code occurs, (codes,) int64. The result has at least ``least`` elements."""
    counts = np.zeros(least, dtype=np.int64)
    for codes in parts:
        more = np.bincount(codes, minlength=len(counts))
        more[: len(counts)] += counts
        counts = more
    return counts


@dataclass(frozen=True)
class Samples:
    """The samples of a split, memory-mapped, (samples,) each; see ``StoreWriter.samples``."""

    user: np.ndarray
    end: np.ndarray
    time: np.ndarray
    label: np.ndarray
    static: Mapping[str, np.ndarray]
    probability: np.ndarray | None

    def __len__(self) -> int:
        return len(self.label)


class EventStore:
    """A prepared store, opened for reading.

    ``schema``        the fields and tables of its samples.
    ``manifest``      the content of ``store.json``: source, settings, inputs, counts, defects, file sizes.
    ``data_hash``     the hash of format, source, settings and content of the inputs.
    ``users``         the number of separate histories: one for each user, unless ``users_of`` says otherwise.
    ``user_offsets``  (users + 1,) int64: where each history begins in the event arrays, and the number of events.
    ``users_of``      (users,) int: the index of the user of each history.
    ``time``          (events,) int64, unix seconds.
    ``events``        sequence field -> (events,) int32 codes, for the fields that are stored.
    ``samples``       split -> ``Samples``.
    ``cell_rows``     table -> how a raw cell of a numeric or multi-valued field becomes rows of it.
    ``held_out``      the share of users whose samples are the test.
    ``training_ends`` (users,) int64: the position after the last event of training of each history; None: training
                      ends at the same time for all users.
    """

    def __init__(self, folder: Path, manifest: Mapping[str, Any]) -> None:
        self.folder = folder
        self.manifest = manifest
        self.schema = Schema.from_json(manifest["schema"])
        self.data_hash: str = manifest["data_hash"]
        self.user_offsets = self._load("user_offsets", np.int64)
        self.users = len(self.user_offsets) - 1
        own = "users_of.npy" not in manifest["files"]
        self.users_of = np.arange(self.users) if own else self._load("users_of", np.int32)
        ends = "training_ends.npy" in manifest["files"]
        self.training_ends = self._load("training_ends", np.int64) if ends else None
        self.time = self._load("events.time", np.int64)
        stored = [field.name for field in self.schema.sequence if field.name != GAP_FIELD]
        self.events = {name: self._load(f"events.{name}", np.int32) for name in stored}
        self.samples = {split: self._load_samples(split) for split in SPLITS}
        self.held_out = float(manifest.get("settings", {}).get("held_out_users", 0.0))

    @classmethod
    def open(cls, folder: str | Path, deep: bool = False) -> EventStore:
        """Opens the store in ``folder``. The folder is locked, so that nobody removes it while the store is used.

        ``deep``  whether to verify all its content, not only files that changed since they were last verified.

        Raises DamagedStoreError if the folder is certainly not a store, or a damaged one. Raises DataError if the store
        has another format, or if the system cannot read it.
        """
        folder = Path(folder)
        lock = hold(folder)
        try:
            with _said_of(folder):
                store = cls._verified(folder, deep)
        except BaseException:
            if lock is not None:
                lock.release()
            raise
        if lock is not None:
            weakref.finalize(store, lock.release)
        return store

    @classmethod
    def _verified(cls, folder: Path, deep: bool) -> EventStore:
        manifest = read_manifest(folder)
        states = states_of(folder, manifest["files"])
        names = list(states) if deep else unverified(folder, states)
        with stamped(folder, states) if names else nullcontext():
            if CRC32 in manifest:
                compare_checksums(folder, manifest[CRC32], names)
            store = cls._of(folder, manifest)
            if deep or (names and CRC32 not in manifest):
                check_ranges(store)
        if CRC32 not in manifest:
            log.info(
                "%s was prepared before checksums were kept: a change of its content is seen only in codes and "
                "positions that name nothing",
                folder.name,
            )
        return store

    @classmethod
    def _of(cls, folder: Path, manifest: Mapping[str, Any]) -> EventStore:
        try:
            store = cls(folder, manifest)
            store._check_lengths()
        except DataError:
            raise
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedStoreError(f"{folder} cannot be opened ({error}): the store is damaged", REMEDY) from None
        return store

    def _check_lengths(self) -> None:
        """Raises DamagedStoreError if arrays that must have the same length have not."""
        for split, samples in self.samples.items():
            arrays = [samples.user, samples.end, samples.time, *samples.static.values(), samples.probability]
            if any(array is not None and len(array) != len(samples) for array in arrays):
                raise DamagedStoreError(f"{self.folder}: arrays of split {split} differ in length", REMEDY)
        if self.training_ends is not None and len(self.training_ends) != self.users:
            raise DamagedStoreError(f"{self.folder}: training_ends is not as long as there are users", REMEDY)
        if any(len(codes) != len(self.time) for codes in self.events.values()):
            raise DamagedStoreError(f"{self.folder}: arrays of events differ in length", REMEDY)
        for table, cells in self.schema.cells.items():
            codes = FIRST_ID + self.vocabulary_size(table)
            if any(pairs.shape != (codes, cells.members) for pairs in self.pairs(table)):
                raise DamagedStoreError(f"{self.folder}: the cells of {table!r} differ from its vocabulary", REMEDY)
            if self.cell_rows[table].kind != cells.kind or self.cell_rows[table].rows != self.schema.tables[table]:
                raise DamagedStoreError(f"{self.folder}: the cells of {table!r} differ from its schema", REMEDY)

    @cached_property
    def defects(self) -> Defects:
        """The bad rows of the raw files, counted when the store was prepared."""
        return Defects.from_json(self.manifest["defects"])

    @property
    def boundaries(self) -> tuple[int, int]:
        """The times at which validation and test begin, in unix seconds.

        With ``training_ends`` both are the second after the last row of training.
        """
        return self.manifest["boundaries"]["validation"], self.manifest["boundaries"]["test"]

    @cached_property
    def held_out_users(self) -> np.ndarray:
        """Whether each user is held out, bool by the user's index (see ``users_of``)."""
        return held_out(self.vocabulary(USER_TABLE), self.held_out)

    def of_training(self, part: slice) -> np.ndarray:
        """Which events of a part of the event arrays belong to training, bool (events of the part,).

        These are the events before validation, without those of held-out users.
        """
        places = np.arange(*part.indices(len(self.time)))
        if self.training_ends is not None:
            return places < self.training_ends[self._owners(places)]
        early = read_part(self.time, part) < self.boundaries[0]
        if self.held_out:
            owner = self._owners(places)
            early &= ~self.held_out_users[self.users_of[owner]]
        return early

    def _owners(self, places: np.ndarray) -> np.ndarray:
        """The history to which each position of the event arrays belongs."""
        return np.searchsorted(self.user_offsets, places, side="right") - 1

    def vocabulary(self, table: str) -> np.ndarray:
        """The raw values of a table's codes, numbers or words: element i is the value of code ``FIRST_ID + i``."""
        with _said_of(self.folder):
            if f"{WORD_ENDS}.{table}.npy" not in self.manifest["files"]:  # numbers, or words as version 0.1 wrote them
                return self._load(f"{VOCABULARY}.{table}")
            return self._words(f"{VOCABULARY}.{table}", f"{WORD_ENDS}.{table}")

    def _words(self, name: str, ends_of: str) -> np.ndarray:
        content, ends = self._load(name).tobytes(), self._load(ends_of, np.int64).tolist()
        words = (content[start:end].decode("utf-8", "replace") for start, end in pairwise((0, *ends)))
        return np.fromiter(words, dtype=object, count=len(ends))

    @cached_property
    def cell_rows(self) -> Mapping[str, CellRows]:
        """Table -> how a raw cell becomes rows of it, for the numeric and multi-valued fields."""
        found = {}
        with _said_of(self.folder):
            for table, settings in self.manifest.get("cells", {}).items():
                listed = self._words(f"{MEMBERS}.{table}", f"{MEMBER_ENDS}.{table}") if settings["kind"] == LIST else ()
                found[table] = cell_rows(settings, tuple(listed))
        return found

    def pairs(self, table: str) -> Pairs:
        """The rows and weights of the cells of a numeric or multi-valued field, by code: (codes, members) each.

        Code ``PADDING`` has weight 0; code ``UNKNOWN`` is the missing cell.
        """
        members = self.schema.cells[table].members
        with _said_of(self.folder):
            ids, weights = (
                self._load(f"{CELL_IDS}.{table}", np.int32),
                self._load(f"{CELL_WEIGHTS}.{table}", np.float32),
            )
        return Pairs(ids.reshape(-1, members), weights.reshape(-1, members))

    def vocabulary_size(self, table: str) -> int:
        """How many raw values a table has codes for."""
        words = f"{WORD_ENDS}.{table}.npy" in self.manifest["files"]
        with _said_of(self.folder):
            return len(self._load(f"{WORD_ENDS if words else VOCABULARY}.{table}"))

    def positives(self, split: str) -> int:
        """How many samples of a split are clicked."""
        known = self.manifest["counts"].get("positives")
        if known is not None:
            return known[split]
        return sum(int(np.count_nonzero(label)) for label in read_parts(self.samples[split].label))

    def history_lengths(self, split: str) -> np.ndarray:
        """The number of events of each sample's history, at most ``schema.length``: (samples,) int32."""
        samples = self.samples[split]
        lengths = np.empty(len(samples), dtype=np.int32)
        for part in parts_of(len(samples)):
            events = read_part(samples.end, part) - self.user_offsets[read_part(samples.user, part)]
            lengths[part] = np.minimum(events, self.schema.length)
        return lengths

    def _load(self, name: str, dtype: type | None = None) -> np.ndarray:
        path = self.folder / f"{name}.npy"
        small = path.stat().st_size < _SMALL
        try:
            array = _array(path, None if small else "r")
        except OSError as error:
            if error.errno is not None:  # an error of the operating system
                raise
            raise ValueError(f"{path.name}: {error}") from None
        except Exception as error:  # a damaged header can make numpy raise anything
            raise ValueError(f"{path.name}: {error}") from None
        if not isinstance(array, np.ndarray) or array.ndim != 1 or dtype not in (None, array.dtype):
            raise ValueError(f"{path.name} holds no row of {np.dtype(dtype)}")
        return array

    def _load_samples(self, split: str) -> Samples:
        def load(name: str, dtype: type) -> np.ndarray:
            return self._load(f"{split}.{name}", dtype)

        known = f"{split}.probability.npy" in self.manifest["files"]
        return Samples(
            user=load("user", np.int32),
            end=load("end", np.int64),
            time=load("time", np.int64),
            label=load("label", np.uint8),
            static={field.name: load(f"static.{field.name}", np.int32) for field in self.schema.static},
            probability=load("probability", np.float32) if known else None,
        )


def _array(path: Path, mmap_mode: Literal["r"] | None) -> np.ndarray:
    """The array of a file.

    NumPy lets Python parse the header of a file. Where several threads parse at once, Python 3.11 may raise a
    SystemError, since it counts the depth of all of them together: then the header is read again.
    """
    for _ in range(_TRIES - 1):
        with suppress(SystemError):
            return np.load(path, mmap_mode=mmap_mode, allow_pickle=False)
    return np.load(path, mmap_mode=mmap_mode, allow_pickle=False)


@contextmanager
def _said_of(folder: Path) -> Iterator[None]:
    """Raises DataError, in one line, if the system cannot read a store, which may be undamaged."""
    try:
        yield
    except OSError as error:
        file = error.filename if error.filename is not None else folder
        advice = "raise the limit with ulimit -n 1024" if error.errno == errno.EMFILE else "nothing was changed"
        raise DataError(f"{file} cannot be read: {error.strerror or error}; {advice}") from None
