"""What a store knows of an item or of a user at some time: its category, its brand, a user's age."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from mdaf.data.new_rows.row_format import Own
from mdaf.data.reading.local_time import FARTHEST, local_days
from mdaf.data.schema import UNKNOWN
from mdaf.data.store.arrays import parts_of, read_part
from mdaf.data.store.event_store import SPLITS, EventStore


class KnownFields:
    """The values of fields that belong to items or users, from the store's events and samples.

    ``utc_offset_hours``  of the days of a log whose fields are known by the ``day``.
    """

    def __init__(self, store: EventStore, utc_offset_hours: float) -> None:
        self._store = store
        self._offset = utc_offset_hours
        self._said: dict[tuple[str, Own], pl.DataFrame] = {}

    def codes(self, field: str, own: Own, owners: np.ndarray, time: np.ndarray) -> np.ndarray:
        """The codes of a field for owners, by their codes, at some times: (rows,) int32, ``UNKNOWN`` if not known."""
        said = self._said_of(field, own)
        if own.when == "latest":
            return _last_before(said, owners, time)
        place = np.searchsorted(said["owner"].to_numpy(), owners)
        place = np.minimum(place, max(len(said) - 1, 0))
        if not len(said):
            return np.full(len(owners), UNKNOWN, dtype=np.int32)
        since = said["first"].to_numpy()[place]
        known = said["owner"].to_numpy()[place] == owners
        if own.when == "at":
            known &= since <= time
        elif own.when == "before":
            known &= since < time
        elif own.when == "day":
            known &= self._days(since) <= self._days(time)
        return np.where(known, said["code"].to_numpy()[place], np.int32(UNKNOWN)).astype(np.int32)

    def _days(self, time: np.ndarray) -> np.ndarray:
        """The number of each time's local day and split; a day that two splits share by time counts as two."""
        by_time = self._store.training_ends is None
        split = np.searchsorted(self._store.boundaries, time, side="right") if by_time else 0
        return local_days(time, self._offset) * len(SPLITS) + split

    def _said_of(self, field: str, own: Own) -> pl.DataFrame:
        """The columns owner, code, first and last: when the log says a value for an owner. Sorted by owner.

        For all but ``latest`` there is one row for each owner, with the earliest value.
        """
        if (field, own) not in self._said:
            parts = [part for part in self._parts(field, own) if len(part)]
            empty = pl.DataFrame(schema={"owner": pl.Int32, "code": pl.Int32, "first": pl.Int64, "last": pl.Int64})
            said = _summed(pl.concat([empty, *parts])).sort("owner", "first", "code")
            if own.when != "latest":
                said = said.unique("owner", keep="first", maintain_order=True)
            self._said[field, own] = said
        return self._said[field, own]

    def _parts(self, field: str, own: Own) -> Iterator[pl.DataFrame]:
        store = self._store
        if own.owner in store.events and field in store.events:
            for part in parts_of(len(store.time)):
                yield _said(
                    read_part(store.events[own.owner], part),
                    read_part(store.events[field], part),
                    read_part(store.time, part),
                )
            if own.settled:  # samples know of their day, and may so be earlier than the value's first row
                return
        for samples in store.samples.values():
            if own.owner not in samples.static or field not in samples.static:
                continue
            for part in parts_of(len(samples)):
                yield _said(
                    read_part(samples.static[own.owner], part),
                    read_part(samples.static[field], part),
                    read_part(samples.time, part),
                )


def _said(owner: np.ndarray, code: np.ndarray, time: np.ndarray) -> pl.DataFrame:
    frame = pl.DataFrame({"owner": owner, "code": code, "first": time, "last": time})
    return _summed(frame.filter((pl.col("owner") != UNKNOWN) & (pl.col("code") != UNKNOWN)))


def _summed(said: pl.DataFrame) -> pl.DataFrame:
    return said.group_by("owner", "code").agg(pl.col("first").min(), pl.col("last").max())


def _last_before(said: pl.DataFrame, owners: np.ndarray, time: np.ndarray) -> np.ndarray:
    """The code that was said last of each owner, at the row's time or before."""
    ends = pl.concat([said.select("owner", "code", time=pl.col(end)) for end in ("first", "last")])
    asked = pl.DataFrame({"owner": owners, "time": np.clip(time, -FARTHEST, FARTHEST)}).with_row_index("row")
    found = asked.sort("time").join_asof(ends.sort("time", "code"), on="time", by="owner", check_sortedness=False)
    return found.sort("row")["code"].fill_null(UNKNOWN).to_numpy()
