"""Sorts a raw log's events by user and time, in ranges of users that fit in memory, and writes the store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl

from data.layout import Periods
from data.pieces import UserRanges, cuts_of, records_of, rows_at_once
from data.progress import Progress
from data.raw_log import Encoding, RawLog
from data.schema import FIRST_ID
from data.store import SPLITS, USER_TABLE
from data.writer import StoreWriter


@dataclass(frozen=True)
class SortedEvents:
    """All events of a range of users, sorted by (user, time), those of one time in the log's order.

    ``user``, ``time``, ``codes``  (events,); users are indices: their codes less ``FIRST_ID``.
    ``first_user``                 the range's first user.
    ``offsets``                    (users + 1,), positions in the store at which each user's events begin.
    """

    user: np.ndarray
    time: np.ndarray
    codes: Mapping[str, np.ndarray]
    first_user: int
    offsets: np.ndarray

    def starts(self, user: np.ndarray) -> np.ndarray:
        """Position in the store of each user's first event, int64."""
        return self.offsets[user - self.first_user]

    def ends(self, user: np.ndarray, time: np.ndarray) -> np.ndarray:
        """Position in the store of each user's first event that is not strictly before ``time``, int64."""
        if not len(self.time):
            return self.starts(user)
        low = int(min(self.time.min(), time.min(initial=self.time.min())))
        span = int(max(self.time.max(), time.max(initial=low))) - low + 1
        own = (self.user - self.first_user) * np.int64(span) + (self.time - low)
        asked = (user - self.first_user) * np.int64(span) + (time - low)
        return self.offsets[0] + np.searchsorted(own, asked, side="left")


@dataclass(frozen=True)
class Samples:
    """The samples of a range of users, sorted by (user, time), (samples,) each; ``split`` is a number of ``SPLITS``."""

    user: np.ndarray
    time: np.ndarray
    label: np.ndarray
    split: np.ndarray
    static: Mapping[str, np.ndarray]
    probability: np.ndarray | None = None

    def write(self, writer: StoreWriter, end: np.ndarray) -> None:
        """Appends them to the splits they belong to; ``end`` as for ``StoreWriter.samples``."""
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
    """Turns a raw log into sorted ranges, one after the other.

    ``folder``  for what must wait on disk.
    ``unique``  whether a row that repeats another one in all its fields is left out (``repeated`` counts them).
    """

    def __init__(
        self, log: RawLog, encoding: Encoding, periods: Periods, folder: Path, memory_gb: float, unique: bool
    ) -> None:
        self.repeated = 0
        self._log = log
        self._encoding = encoding
        self._periods = periods
        self._folder = folder
        self._unique = unique
        self._users = len(encoding.vocabularies[USER_TABLE].values)
        self._cuts = cuts_of(encoding.vocabularies[USER_TABLE].occurrences, rows_at_once(memory_gb))

    def write_events(self, writer: StoreWriter, progress: Progress) -> Iterator[tuple[SortedEvents, Samples]]:
        """Writes events and offsets range by range, and yields each range with its samples."""
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
            writer.events(part.time, part.codes)
            yield part, self._samples_of(samples.take(number))

    def _routed_events(self, progress: Progress) -> UserRanges:
        fields = self._log.layout.events
        dtype = records_of(np.zeros(0), np.zeros(0), {name: np.zeros(0, np.int32) for name in fields}).dtype
        ranges = UserRanges(self._folder / "events by user", dtype, self._cuts)
        for number, frame in enumerate(self._log.events):
            progress("encoding events", 0.4 * number / len(self._log.events))
            codes = self._encoding.codes(frame, (USER_TABLE, *fields))
            user = codes.pop(USER_TABLE) - FIRST_ID
            ranges.append(records_of(user, frame["time"].to_numpy(), codes))
        return ranges

    def _routed_samples(self, progress: Progress) -> UserRanges:
        fields = [name for name in self._log.layout.static if name != USER_TABLE]
        columns = {"label": np.zeros(0, np.uint8), "split": np.zeros(0, np.uint8)}
        columns |= {"probability": np.zeros(0, np.float32), **{name: np.zeros(0, np.int32) for name in fields}}
        dtype = records_of(np.zeros(0), np.zeros(0), columns).dtype
        ranges = UserRanges(self._folder / "samples by user", dtype, self._cuts)
        for number, frame in enumerate(self._log.samples):
            progress("encoding samples", 0.4 + 0.1 * number / len(self._log.samples))
            if "split" not in frame.columns:
                frame = frame.with_columns(split=self._periods.split_of(pl.col("time")))
            if "probability" not in frame.columns:
                frame = frame.with_columns(probability=pl.lit(float("nan"), pl.Float32))
            codes = self._encoding.codes(frame, (USER_TABLE, *fields))
            user = codes.pop(USER_TABLE) - FIRST_ID
            known = {name: frame[name].to_numpy().astype(columns[name].dtype) for name in ("label", "split")}
            known["probability"] = frame["probability"].to_numpy().astype(np.float32)
            ranges.append(records_of(user, frame["time"].to_numpy(), {**known, **codes}))
        return ranges

    def _sorted(self, records: np.ndarray, first: int, last: int, position: int) -> SortedEvents:
        order = _by_user_and_time(records)
        if self._unique:
            kept = _first_of_equals(records, order)
            self.repeated += len(order) - len(kept)
            order = kept
        user = records["user"][order]
        counts = np.bincount(user - first, minlength=last - first)
        return SortedEvents(
            user=user,
            time=records["time"][order],
            codes={name: records[name][order] for name in self._log.layout.events},
            first_user=first,
            offsets=position + np.concatenate([[0], np.cumsum(counts)]),
        )

    def _samples_of(self, records: np.ndarray) -> Samples:
        records = records[_by_user_and_time(records)]
        static = {name: records[name] for name in self._log.layout.static if name != USER_TABLE}
        probability = records["probability"]
        return Samples(
            user=records["user"],
            time=records["time"],
            label=records["label"],
            split=records["split"],
            static={USER_TABLE: records["user"] + np.int32(FIRST_ID), **static},
            probability=None if np.isnan(probability).any() else probability,
        )


def _by_user_and_time(records: np.ndarray) -> np.ndarray:
    """The stable order by (user, time)."""
    if not len(records):
        return np.zeros(0, dtype=np.int64)
    user, time = records["user"], records["time"]
    low = int(time.min())
    span = int(time.max()) - low + 1
    return np.argsort((user - user.min()) * np.int64(span) + (time - low), kind="stable")


def _first_of_equals(records: np.ndarray, order: np.ndarray) -> np.ndarray:
    """``order`` without the rows that repeat an earlier one in every field."""
    user, time = records["user"][order], records["time"][order]
    same = (np.diff(user) == 0) & (np.diff(time) == 0)
    tied = np.flatnonzero(np.append(same, False) | np.append(False, same))
    rows = records[order[tied]]
    frame = pl.DataFrame({name: rows[name] for name in records.dtype.names or ()})
    repeats = tied[~frame.select(pl.struct(pl.all()).is_first_distinct()).to_series().to_numpy()]
    return np.delete(order, repeats)
