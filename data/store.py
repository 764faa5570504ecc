"""The event store: a folder of flat arrays and a manifest. No padded history is ever stored.

Events of all users lie sorted by (user, time). A sample knows its user and ``end``, the position of the user's first
event that is not strictly before it; so its history is ``events[max(user_offsets[user], end - length):end]``. All
fields hold codes (see ``data.vocabulary``).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from mmap import mmap
from pathlib import Path
from typing import Any

import numpy as np

from data.defects import Defects
from data.errors import DataError
from data.schema import Schema

FORMAT_VERSION = 2
MANIFEST = "store.json"
SPLITS = ("train", "validation", "test")
GAP_FIELD = "gap"  # sequence field that is computed from times while gathering, never stored
USER_TABLE = "user"  # a user's index (see users_of) is its code in this table less FIRST_ID
_PART = 1 << 20  # elements of an array that are read together
MATCH_PREFIX = "match_"  # a match field is named after the sequence field that it compares


def read_part(array: np.ndarray, part: slice) -> np.ndarray:
    """A contiguous part of one of a store's arrays, a copy, read from its file.

    The pages of a mapped array count as the process's memory for as long as it is mapped: whoever reads all of a large
    store part by part would seem to hold it whole, and to a limit on memory it would make no difference.
    """
    start, stop, step = part.indices(len(array))
    if step != 1 or not isinstance(array, np.memmap) or not isinstance(array.base, mmap):  # or a view of a mapped one
        return np.array(array[part])
    assert array.filename is not None
    offset = array.offset + start * array.itemsize
    return np.fromfile(array.filename, dtype=array.dtype, count=max(0, stop - start), offset=offset)


def read_parts(array: np.ndarray) -> Iterator[np.ndarray]:
    """One of a store's arrays in parts that are read one after the other; see ``read_part``."""
    return (read_part(array, part) for part in parts_of(len(array)))


def parts_of(length: int) -> Iterator[slice]:
    """Where to cut an array of ``length`` elements into parts that bound the memory."""
    return (slice(start, min(start + _PART, length)) for start in range(0, length, _PART))


def count_codes(parts: Iterable[np.ndarray], least: int = 0) -> np.ndarray:
    """How often each code occurs, (codes,) int64, at least ``least`` of them."""
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

    ``schema``        fields and tables of its samples.
    ``manifest``      what ``store.json`` says: source, settings, inputs, counts, defects, file sizes.
    ``data_hash``     of format, source, settings and content of the inputs.
    ``users``         number of histories to tell apart: one a user, unless ``users_of`` says otherwise.
    ``user_offsets``  (users + 1,) int64, positions in the event arrays.
    ``users_of``      (users,) int, the index of the user whose history it is.
    ``time``          (events,) int64, unix seconds.
    ``events``        sequence field -> (events,) int32 codes, of the fields that are stored.
    ``samples``       split -> ``Samples``.
    """

    def __init__(self, folder: Path, manifest: Mapping[str, Any]) -> None:
        self.folder = folder
        self.manifest = manifest
        self.schema = Schema.from_json(manifest["schema"])
        self.data_hash: str = manifest["data_hash"]
        self.user_offsets = self._load("user_offsets")
        self.users = len(self.user_offsets) - 1
        own = "users_of.npy" not in manifest["files"]
        self.users_of = np.arange(self.users) if own else self._load("users_of")
        self.time = self._load("events.time")
        stored = [field.name for field in self.schema.sequence if field.name != GAP_FIELD]
        self.events = {name: self._load(f"events.{name}") for name in stored}
        self.samples = {split: self._load_samples(split) for split in SPLITS}

    @classmethod
    def open(cls, folder: str | Path) -> EventStore:
        """The store in ``folder``; DataError if it is not one, is damaged, or was written in another format."""
        folder = Path(folder)
        path = folder / MANIFEST
        remedy = "delete the folder and prepare it again"
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
            version, files = manifest["format"], manifest["files"]
        except FileNotFoundError:
            raise DataError(f"{folder} is not a prepared store: it has no {MANIFEST}; {remedy}") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path} cannot be read as a manifest ({error}); {remedy}") from None
        if version != FORMAT_VERSION:
            raise DataError(f"{path} has format {version}, this program reads {FORMAT_VERSION}; {remedy}")
        for name, size in files.items():
            file = folder / name
            found = file.stat().st_size if file.is_file() else None
            if found != size:
                state = "is missing" if found is None else f"has {found:,} bytes"
                raise DataError(f"{file} {state}, its manifest says {size:,}: the store is damaged; {remedy}")
        try:
            return cls(folder, manifest)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{folder} cannot be opened ({error}): the store is damaged; {remedy}") from None

    @cached_property
    def defects(self) -> Defects:
        """Bad rows that were met while preparing."""
        return Defects.from_json(self.manifest["defects"])

    @property
    def boundaries(self) -> tuple[int, int]:
        """Unix seconds at which validation and test begin."""
        return self.manifest["boundaries"]["validation"], self.manifest["boundaries"]["test"]

    def vocabulary(self, table: str) -> np.ndarray:
        """Raw values of a table's codes: element i is that of code ``FIRST_ID + i``."""
        return self._load(f"vocabulary.{table}")

    def history_lengths(self, split: str) -> np.ndarray:
        """Events of each sample's history, at most ``schema.length``, (samples,) int32."""
        samples = self.samples[split]
        lengths = np.empty(len(samples), dtype=np.int32)
        for part in parts_of(len(samples)):
            events = read_part(samples.end, part) - self.user_offsets[read_part(samples.user, part)]
            lengths[part] = np.minimum(events, self.schema.length)
        return lengths

    def _load(self, name: str) -> np.ndarray:
        path = self.folder / f"{name}.npy"
        small = path.stat().st_size < 4096  # an empty array cannot be mapped
        return np.load(path, mmap_mode=None if small else "r", allow_pickle=False)

    def _load_samples(self, split: str) -> Samples:
        def load(name: str) -> np.ndarray:
            return self._load(f"{split}.{name}")

        return Samples(
            user=load("user"),
            end=load("end"),
            time=load("time"),
            label=load("label"),
            static={field.name: load(f"static.{field.name}") for field in self.schema.static},
            probability=load("probability") if f"{split}.probability.npy" in self.manifest["files"] else None,
        )
