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

from data.click_log import EVENT_FIELDS, EventLog, Periods, click_schema, write_by_split
from data.defects import Defects
from data.errors import DataError
from data.local_time import local_days
from data.negatives import NO_ITEM, Touched, draw_negatives
from data.schema import FIRST_ID, UNKNOWN
from data.source import Contents, Progress
from data.streams import stream_seed
from data.vocabulary import Vocabulary
from data.writer import StoreWriter


@dataclass(frozen=True)
class Protocol:
    """How samples are made of a log.

    ``negatives``  negatives for each positive.
    ``positive``   the behaviour that makes a positive.
    ``min_count``  table -> events of training that give an id a row; 1 where it says nothing.
    """

    periods: Periods
    length: int
    negatives: int
    positive: str
    min_count: Mapping[str, int]
    seed: int


def write_next_click(
    writer: StoreWriter, events: pl.DataFrame, defects: Defects, protocol: Protocol, progress: Progress
) -> Contents:
    """Writes the store of a clean log: columns user, item, category, behaviour, time; an item has one category."""
    progress("building vocabularies", 0.3)
    training = (events["time"] < protocol.periods.validation).to_numpy()
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
    positives = positives[np.argsort(local_days(log.time[positives], protocol.periods.utc_offset_hours), kind="stable")]

    trained = log.time[positives] < protocol.periods.validation
    for name, values in protocol.periods.moments(log.time[positives]).items():
        vocabularies[name] = Vocabulary.build([(values, trained)], protocol.min_count.get(name, 1))
    for table, vocabulary in vocabularies.items():
        writer.vocabulary(table, vocabulary)
    writer.user_offsets(log.offsets)
    writer.events(log.time, log.codes)
    _write_samples(writer, log, positives, ends[positives], views, vocabularies, protocol, progress)
    longest_gap = protocol.periods.validation - int(log.time.min())
    schema = click_schema(vocabularies, longest_gap, protocol.length)
    return Contents(schema, protocol.periods.validation, protocol.periods.test, defects)


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
    offset = protocol.periods.utc_offset_hours
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
            **{name: vocabularies[name].encode(raw) for name, raw in protocol.periods.moments(time).items()},
        }
        end = np.repeat(ends[part], 1 + protocol.negatives)[kept]
        write_by_split(writer, protocol.periods, user=user, end=end, time=time, label=label, static=static)
