"""What all click logs share: their fields, events sorted for the store, and samples told apart by time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from data.gaps import gap_buckets
from data.local_time import local_hours, local_weekdays
from data.schema import FIRST_ID, MATCH_ROWS, Field, Schema
from data.store import GAP_FIELD, SPLITS
from data.vocabulary import Vocabulary
from data.writer import StoreWriter

EVENT_FIELDS = ("item", "category", "behaviour")
STATIC_FIELDS = ("user", "item", "category", "hour", "weekday")
TABLES = ("user", "item", "category", "behaviour", "hour", "weekday")


@dataclass(frozen=True)
class Periods:
    """Unix seconds at which validation and test begin, and the log's local time."""

    validation: int
    test: int
    utc_offset_hours: float

    def moments(self, time: np.ndarray) -> dict[str, pl.Series]:
        """The moment fields of samples: hour and weekday in local time."""
        offset = self.utc_offset_hours
        return {"hour": pl.Series(local_hours(time, offset)), "weekday": pl.Series(local_weekdays(time, offset))}


def click_schema(vocabularies: Mapping[str, Vocabulary], longest_gap: int, length: int) -> Schema:
    """The schema of a click log: user, item, category and moment; a history of items, categories and behaviours."""
    rows = {table: vocabulary.rows for table, vocabulary in vocabularies.items()}
    return Schema(
        tables={**rows, "gap": FIRST_ID + gap_buckets(longest_gap), "match": MATCH_ROWS},
        static=tuple(Field(name, name) for name in STATIC_FIELDS),
        sequence=(*(Field(name, name) for name in EVENT_FIELDS), Field(GAP_FIELD, "gap")),
        matches=(Field("match_item", "match"), Field("match_category", "match")),
        target={"item": "item", "category": "category"},
        length=length,
    )


@dataclass(frozen=True)
class EventLog:
    """Events sorted by (user, time), those of one time in the log's order; codes int32, times int64, (events,).

    ``offsets``  (users + 1,), where each user's events begin; a user's index is its code less ``FIRST_ID``.
    """

    user: np.ndarray
    time: np.ndarray
    codes: Mapping[str, np.ndarray]
    offsets: np.ndarray

    @classmethod
    def of(cls, events: pl.DataFrame, vocabularies: Mapping[str, Vocabulary]) -> EventLog:
        """From raw rows with the columns user, time and ``EVENT_FIELDS``."""
        user = vocabularies["user"].encode(events["user"]) - FIRST_ID
        time = events["time"].to_numpy()
        order = np.lexsort((time, user))
        counts = np.bincount(user, minlength=len(vocabularies["user"].values))
        return cls(
            user=user[order],
            time=time[order],
            codes={name: vocabularies[name].encode(events[name])[order] for name in EVENT_FIELDS},
            offsets=np.concatenate([[0], np.cumsum(counts)]),
        )

    def ends(self, user: np.ndarray, time: np.ndarray) -> np.ndarray:
        """Position of each user's first event that is not strictly before ``time``, int64."""
        if not len(self.time):
            return np.zeros(len(user), dtype=np.int64)
        low = min(self.time.min(), time.min(initial=self.time.min()))
        span = max(self.time.max(), time.max(initial=low)) - low + 1
        own = self.user * np.int64(span) + (self.time - low)
        return np.searchsorted(own, user * np.int64(span) + (time - low), side="left")


def write_by_split(
    writer: StoreWriter,
    periods: Periods,
    *,
    user: np.ndarray,
    end: np.ndarray,
    time: np.ndarray,
    label: np.ndarray,
    static: Mapping[str, np.ndarray],
    probability: np.ndarray | None = None,
) -> None:
    """Appends samples to the splits that their times belong to; see ``StoreWriter.samples``."""
    split = (time >= periods.validation).astype(int) + (time >= periods.test)
    for number, name in enumerate(SPLITS):
        mine = split == number
        if mine.any():
            writer.samples(
                name,
                user=user[mine],
                end=end[mine],
                time=time[mine],
                label=label[mine],
                static={field: codes[mine] for field, codes in static.items()},
                probability=None if probability is None else probability[mine],
            )
