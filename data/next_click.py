"""Samples from a log that holds no impressions: which item does the user view next?

Every page view with an earlier event is a positive. The negatives are items drawn by their popularity on the sample's
own day: drawn by popularity in the training period instead, only positives would be items that training has never
seen, and a model would score by noticing just that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from data.defects import Defects
from data.errors import DataError
from data.gaps import gap_buckets
from data.local_time import local_days, local_hours, local_weekdays
from data.negatives import NO_ITEM, Touched, draw_negatives
from data.schema import FIRST_ID, MATCH_ROWS, UNKNOWN, Field, Schema
from data.source import Contents, Progress
from data.store import GAP_FIELD, SPLITS
from data.streams import stream_seed
from data.vocabulary import Vocabulary
from data.writer import StoreWriter

EVENT_FIELDS = ("item", "category", "behaviour")
STATIC_FIELDS = ("user", "item", "category", "hour", "weekday")
TABLES = ("user", "item", "category", "behaviour", "hour", "weekday")


@dataclass(frozen=True)
class Protocol:
    """How samples are made of a log.

    ``validation``, ``test``  unix seconds at which these splits begin.
    ``negatives``             negatives for each positive.
    ``positive``              the behaviour that makes a positive.
    ``min_count``             table -> events of training that give an id a row; 1 where it says nothing.
    """

    validation: int
    test: int
    utc_offset_hours: float
    length: int
    negatives: int
    positive: str
    min_count: Mapping[str, int]
    seed: int


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


def write_next_click(
    writer: StoreWriter, events: pl.DataFrame, defects: Defects, protocol: Protocol, progress: Progress
) -> Contents:
    """Writes the store of a clean log: columns user, item, category, behaviour, time; an item has one category."""
    progress("building vocabularies", 0.3)
    training = (events["time"] < protocol.validation).to_numpy()
    if not training.any():
        raise DataError("no event lies before the validation period: nothing to train on (data.validation_start)")
    vocabularies = {
        name: Vocabulary.build([(events[name], training)], protocol.min_count.get(name, 1))
        for name in ("user", *EVENT_FIELDS)
    }
    log = EventLog.of(events, vocabularies)
    ends = log.ends(log.user, log.time)
    behaviours = vocabularies["behaviour"].encode(pl.Series([protocol.positive]))
    views = log.codes["behaviour"] == behaviours[0]
    positives = np.flatnonzero(views & (ends > log.offsets[log.user]) & (behaviours[0] != UNKNOWN))
    positives = positives[np.argsort(local_days(log.time[positives], protocol.utc_offset_hours), kind="stable")]

    trained = log.time[positives] < protocol.validation
    moments = {"hour": local_hours, "weekday": local_weekdays}
    for name, local in moments.items():
        values = pl.Series(local(log.time[positives], protocol.utc_offset_hours))
        vocabularies[name] = Vocabulary.build([(values, trained)], protocol.min_count.get(name, 1))
    for table, vocabulary in vocabularies.items():
        writer.vocabulary(table, vocabulary)
    writer.user_offsets(log.offsets)
    writer.events(log.time, log.codes)
    _write_samples(writer, log, positives, ends[positives], views, vocabularies, protocol, progress)
    longest_gap = protocol.validation - int(log.time.min())
    schema = click_schema(vocabularies, longest_gap, protocol.length)
    return Contents(schema, protocol.validation, protocol.test, defects)


def _write_samples(
    writer: StoreWriter,
    log: EventLog,
    positives: np.ndarray,
    ends: np.ndarray,
    views: np.ndarray,
    vocabularies: Mapping[str, Vocabulary],
    protocol: Protocol,
    progress: Progress,
) -> None:
    """Day by day, since popularity is the day's: each positive followed by its negatives."""
    offset = protocol.utc_offset_hours
    touched = Touched.of(log.user, log.codes["item"])
    category_of = np.zeros(touched.items, dtype=np.int32)
    category_of[log.codes["item"]] = log.codes["category"]
    days = local_days(log.time, offset)
    sample_days, starts = np.unique(days[positives], return_index=True)
    for number, (day, part) in enumerate(
        zip(sample_days, np.split(np.arange(len(positives)), starts[1:]), strict=True)
    ):
        progress("drawing negatives", 0.5 + 0.4 * number / len(sample_days))
        rows = positives[part]
        generator = np.random.default_rng(stream_seed(protocol.seed, "negatives", int(day)))
        pool = log.codes["item"][views & (days == day)]
        drawn = draw_negatives(generator, pool, log.user[rows], protocol.negatives, touched)
        item = np.concatenate([log.codes["item"][rows][:, None], drawn], axis=1).reshape(-1)
        kept = item != NO_ITEM
        label = (np.arange(len(item)) % (1 + protocol.negatives) == 0)[kept]
        row = np.repeat(rows, 1 + protocol.negatives)[kept]
        item, time, user = item[kept], log.time[row], log.user[row]
        static = {
            "user": user + FIRST_ID,
            "item": item,
            "category": category_of[item],
            "hour": vocabularies["hour"].encode(pl.Series(local_hours(time, offset))),
            "weekday": vocabularies["weekday"].encode(pl.Series(local_weekdays(time, offset))),
        }
        end = np.repeat(ends[part], 1 + protocol.negatives)[kept]
        write_by_split(writer, protocol, user=user, end=end, time=time, label=label, static=static)


def write_by_split(
    writer: StoreWriter,
    bounds: Protocol,
    *,
    user: np.ndarray,
    end: np.ndarray,
    time: np.ndarray,
    label: np.ndarray,
    static: Mapping[str, np.ndarray],
) -> None:
    """Appends samples to the splits that their times belong to."""
    split = (time >= bounds.validation).astype(int) + (time >= bounds.test)
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
            )
