"""The events from which the histories of new rows come: those of the run's store, or events that are given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from mdaf.data.schema import FIRST_ID
from mdaf.data.store.arrays import read_at, refuse_cut
from mdaf.data.store.event_store import EventStore

_SPARSE = 64  # positions this far apart on average are read one by one


@dataclass(frozen=True)
class Events:
    """Events sorted by (user, time), as in a store.

    ``time``     (events,) int64, unix seconds.
    ``codes``    sequence field -> (events,) int32.
    ``offsets``  (users + 1,) int64: where the events of each user begin. The user with code c is ``c - FIRST_ID``.
    """

    time: np.ndarray
    codes: Mapping[str, np.ndarray]
    offsets: np.ndarray

    @classmethod
    def of_store(cls, store: EventStore) -> Events:
        """The events of a store in which each user has one history."""
        return cls(store.time, store.events, store.user_offsets)

    @classmethod
    def sorted_from(cls, frame: pl.DataFrame, fields: list[str], users: int, unique: bool) -> Events:
        """Events from codes: the columns user, time and ``fields``. Events at the same time keep their order.

        ``users``   how many user codes there are, the reserved ones excluded.
        ``unique``  whether an event that equals an earlier one in all fields is left out.
        """
        if unique:
            frame = frame.unique(["user", "time", *fields], keep="first", maintain_order=True)
        frame = frame.sort("user", "time", maintain_order=True)
        counts = np.bincount(frame["user"].to_numpy() - FIRST_ID, minlength=users)
        return cls(
            time=frame["time"].to_numpy(),
            codes={name: frame[name].to_numpy() for name in fields},
            offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        )

    def before(self, user: np.ndarray, time: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
        """The positions of each row's history, first and end: at most ``length`` events strictly before ``time``.

        ``user``  codes, (rows,). A user without events has an empty history.
        """
        index = user.astype(np.int64) - FIRST_ID
        known = (index >= 0) & (index < len(self.offsets) - 1)
        index = np.where(known, index, 0)
        start = np.where(known, self.offsets[index], 0)
        low, high = start.copy(), np.where(known, self.offsets[np.minimum(index + 1, len(self.offsets) - 1)], 0)
        refuse_cut(self.time)
        while (open_ := np.flatnonzero(low < high)).size:  # a binary search in all histories at once
            middle = (low[open_] + high[open_]) // 2
            earlier = self.time[middle] < time[open_]
            low[open_] = np.where(earlier, middle + 1, low[open_])
            high[open_] = np.where(earlier, high[open_], middle)
        return np.maximum(start, low - length), low

    def around(self, first: np.ndarray, end: np.ndarray) -> tuple[Events, np.ndarray]:
        """The events of some histories alone, and by how much the positions of each row's history move.

        ``first``, ``end``  from ``before``, for rows that are sorted by user.
        """
        # The ranges of a user's rows overlap, so those that touch are joined. Ranges never reach another user's events.
        order = np.argsort(first, kind="stable")
        begins, ends = first[order], np.maximum.accumulate(end[order])
        new = np.concatenate([[True], begins[1:] > ends[:-1]]) if len(begins) else np.zeros(0, bool)
        heads = np.flatnonzero(new)
        group_first = begins[heads]
        group_end = ends[np.append(heads[1:] - 1, len(ends) - 1)] if len(heads) else group_first
        counts = group_end - group_first
        place = np.cumsum(counts) - counts
        shift = np.empty(len(first), dtype=np.int64)
        shift[order] = (place - group_first)[np.cumsum(new) - 1] if len(heads) else 0
        positions = np.repeat(group_first - place, counts) + np.arange(int(counts.sum()))
        kept = Events(
            time=_taken(self.time, positions),
            codes={name: _taken(codes, positions) for name, codes in self.codes.items()},
            offsets=np.array([0, len(positions)]),
        )
        return kept, shift


def _taken(array: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """The values at ascending positions of an array, which may be a mapped file."""
    if not len(positions):
        return np.zeros(0, dtype=array.dtype)
    if int(positions[-1] - positions[0]) > _SPARSE * len(positions):
        refuse_cut(array)
        return np.array(array[positions])
    return read_at(array, positions)
