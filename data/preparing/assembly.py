"""Sorts a raw log's events by user and time, one range of users in memory at a time, and writes them to the store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl

from mdaf.data.preparing.raw_log import Encoding, RawLog
from mdaf.data.preparing.spill import OWNER, TIME, TRAINED, UserRanges, cuts_of, record_type, records_of, rows_at_once
from mdaf.data.schema import FIRST_ID
from mdaf.data.store.event_store import SPLITS
from mdaf.data.store.writer import StoreWriter
from mdaf.terminal.progress import Progress

LABEL, SPLIT, PROBABILITY = "#label", "#split", "#probability"  # additional fields of a sample's record


@dataclass(frozen=True)
class SortedEvents:
    """All events of a range of users, sorted by (user, time). Events of the same time keep the log's order.

    ``user``, ``time``, ``codes``  (events,) each. A user's index is the user's code minus ``FIRST_ID``.
    ``first_user``                 the index of the range's first user.
    ``offsets``                    (users + 1,): the position in the store of each user's first event, and the end.
    """

    user: np.ndarray
    time: np.ndarray
    codes: Mapping[str, np.ndarray]
    first_user: int
    offsets: np.ndarray
    training_ends: np.ndarray | None = None

    def starts(self, user: np.ndarray) -> np.ndarray:
        """The position in the store of each user's first event, int64."""
        return self.offsets[user - self.first_user]

    def ends(self, user: np.ndarray, time: np.ndarray) -> np.ndarray:
        """The position in the store of each user's first event that is not strictly before ``time``, int64."""
        if not len(self.time):
            return self.starts(user)
        low = int(min(self.time.min(), time.min(initial=self.time.min())))
        span = int(max(self.time.max(), time.max(initial=low))) - low + 1
        own = (self.user - self.first_user) * np.int64(span) + (self.time - low)
        sought = (user - self.first_user) * np.int64(span) + (time - low)
        return self.offsets[0] + np.searchsorted(own, sought, side="left")


@dataclass(frozen=True)
class Samples:
    """The samples of a range of users, sorted by (user, time), (samples,) each. ``split`` is an index of ``SPLITS``."""

    user: np.ndarray
    time: np.ndarray
    label: np.ndarray
    split: np.ndarray
    static: Mapping[str, np.ndarray]
    probability: np.ndarray | None = None

    def write(self, writer: StoreWriter, end: np.ndarray) -> None:
        """Writes the samples to their splits. ``end``: as in ``StoreWriter.samples``."""
        for number, name in enumerate(SPLITS):
            mine = self.split == number
            if mine.any():
                writer.samples(
                    name,
                    user=self.user[mine],
                    end=end[mine],
                    time=self.time[mine],
                    label=self.label[mine],
                    static={field: codes[mine] for field, codes in self.static.items()},
                    probability=None if self.probability is None else self.probability[mine],
                )


class Assembly:
    """Sorts a raw log, one range of users after the other.

    ``folder``    for temporary files.
    ``unique``    whether to drop a row that equals an earlier one in all fields.
    ``repeated``  how many rows were dropped so far.
    """

    def __init__(self, log: RawLog, encoding: Encoding, folder: Path, memory_gb: float, unique: bool) -> None:
        self.repeated = 0
        self._log = log
        self._encoding = encoding
        self._folder = folder
        self._unique = unique
        self._owner = log.layout.owner
        owners = encoding.vocabularies[self._owner]
        self._users = len(owners.values)
        self._cuts = cuts_of(owners.occurrences, rows_at_once(memory_gb))

    def write_events(self, writer: StoreWriter, progress: Progress) -> Iterator[tuple[SortedEvents, Samples]]:
        """Writes events and offsets, one range of users at a time, and yields each range and its samples."""
        events = self._routed_events(progress)
        samples = self._routed_samples(progress)
        bounds = [0, *self._cuts.tolist(), self._users]
        position = 0
        writer.user_offsets(np.zeros(1, dtype=np.int64))
        for number, (first, last) in enumerate(pairwise(bounds)):
            progress("sorting events", 0.5 + 0.5 * number / len(events))
            part = self._sorted(events.take(number), first, last, position)
            position = int(part.offsets[-1])
            writer.user_offsets(part.offsets[1:])
            if part.training_ends is not None:
                writer.training_ends(part.training_ends)
            writer.events(part.time, part.codes)
            yield part, self._samples_of(samples.take(number))

    def _routed_events(self, progress: Progress) -> UserRanges:
        fields = self._log.layout.events
        flags = () if self._log.splits.by_time else (TRAINED,)
        dtype = record_type({**dict.fromkeys(flags, np.bool_), **dict.fromkeys(fields, np.int32)})
        ranges = UserRanges(self._folder / "events by user", dtype, self._cuts)
        for number, frame in enumerate(self._log.events):
            progress("encoding events", 0.4 * number / len(self._log.events))
            known = {name: frame[name].to_numpy() for name in flags}
            ranges.append(records_of(dtype, {**known, **self._columns(frame, fields)}))
        return ranges

    def _routed_samples(self, progress: Progress) -> UserRanges:
        fields = self._log.layout.static
        known = {LABEL: np.uint8, SPLIT: np.uint8, PROBABILITY: np.float32}
        dtype = record_type({**known, **dict.fromkeys(fields, np.int32)})
        ranges = UserRanges(self._folder / "samples by user", dtype, self._cuts)
        for number, frame in enumerate(self._log.samples):
            progress("encoding samples", 0.4 + 0.1 * number / len(self._log.samples))
            if "probability" not in frame.columns:
                frame = frame.with_columns(probability=pl.lit(float("nan"), pl.Float32))
            columns_of = {LABEL: "label", SPLIT: "split", PROBABILITY: "probability"}
            columns = {name: frame[raw].to_numpy() for name, raw in columns_of.items()}
            ranges.append(records_of(dtype, {**columns, **self._columns(frame, fields, before=True)}))
        return ranges

    def _columns(self, frame: pl.DataFrame, fields: Sequence[str], before: bool = False) -> dict[str, np.ndarray]:
        codes = self._encoding.codes(frame, tuple(dict.fromkeys((self._owner, *fields))), before)
        columns = {OWNER: codes[self._owner] - FIRST_ID, TIME: frame["time"].to_numpy()}
        return columns | {name: codes[name] for name in fields}

    def _sorted(self, records: np.ndarray, first: int, last: int, position: int) -> SortedEvents:
        order = _by_user_and_time(records)
        if self._unique:
            kept = _first_of_equals(records, order)
            self.repeated += len(order) - len(kept)
            order = kept
        user = records[OWNER][order]
        counts = np.bincount(user - first, minlength=last - first)
        offsets = position + np.concatenate([[0], np.cumsum(counts)])
        ends = None
        if not self._log.splits.by_time:
            ends = offsets[:-1] + np.bincount((user - first)[records[TRAINED][order]], minlength=last - first)
        return SortedEvents(
            user=user,
            time=records[TIME][order],
            codes={name: records[name][order] for name in self._log.layout.events},
            first_user=first,
            offsets=offsets,
            training_ends=ends,
        )

    def _samples_of(self, records: np.ndarray) -> Samples:
        records = records[_by_user_and_time(records)]
        probability = records[PROBABILITY]
        return Samples(
            user=records[OWNER],
            time=records[TIME],
            label=records[LABEL],
            split=records[SPLIT],
            static={name: records[name] for name in self._log.layout.static},
            probability=None if np.isnan(probability).any() else probability,
        )


def _by_user_and_time(records: np.ndarray) -> np.ndarray:
    """The stable order by (user, time)."""
    if not len(records):
        return np.zeros(0, dtype=np.int64)
    user, time = records[OWNER], records[TIME]
    low = int(time.min())
    span = int(time.max()) - low + 1
    return np.argsort((user - user.min()) * np.int64(span) + (time - low), kind="stable")


def _first_of_equals(records: np.ndarray, order: np.ndarray) -> np.ndarray:
    """``order`` without rows that equal an earlier one in every field of the log."""
    user, time = records[OWNER][order], records[TIME][order]
    same = (np.diff(user) == 0) & (np.diff(time) == 0)
    tied = np.flatnonzero(np.append(same, False) | np.append(False, same))
    rows = records[order[tied]]
    frame = pl.DataFrame({name: rows[name] for name in records.dtype.names or () if name != TRAINED})
    repeats = tied[~frame.select(pl.struct(pl.all()).is_first_distinct()).to_series().to_numpy()]
    return np.delete(order, repeats)
