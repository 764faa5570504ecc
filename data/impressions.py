"""Samples from a log that says what was shown and what was clicked."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from data.click_log import EVENT_FIELDS, EventLog, Periods, click_schema, write_by_split
from data.defects import Defects
from data.errors import DataError
from data.schema import FIRST_ID
from data.source import Contents, Progress
from data.vocabulary import Vocabulary
from data.writer import StoreWriter


def write_impressions(
    writer: StoreWriter,
    events: pl.DataFrame,
    impressions: pl.DataFrame,
    *,
    periods: Periods,
    length: int,
    min_count: Mapping[str, int],
    defects: Defects,
    progress: Progress,
) -> Contents:
    """Writes the store of a clean log; both frames may be in any order.

    ``events``       columns user, item, category, behaviour, time: histories come from these.
    ``impressions``  columns user, item, category, time, label and, if it is known, probability: the samples.
    ``min_count``    table -> occurrences in events and impressions of training that give an id a row.
    """
    progress("building vocabularies", 0.5)
    impressions = impressions.sort("user", "time", maintain_order=True)
    times = impressions["time"].to_numpy()
    trained, lived = times < periods.validation, (events["time"] < periods.validation).to_numpy()
    if not trained.any():
        raise DataError("no impression lies before the validation period: nothing to train on")
    shown = {name: impressions[name] for name in ("user", "item", "category")} | periods.moments(times)
    vocabularies = {}
    for table in (*shown, "behaviour"):
        parts = [(shown[table], trained)] if table in shown else []
        if table in events.columns:
            parts.append((events[table], lived))
        vocabularies[table] = Vocabulary.build(parts, min_count.get(table, 1))
        writer.vocabulary(table, vocabularies[table])

    progress("sorting events", 0.7)
    log = EventLog.of(events, vocabularies)
    writer.user_offsets(log.offsets)
    writer.events(log.time, {name: log.codes[name] for name in EVENT_FIELDS})
    static = {name: vocabularies[name].encode(raw) for name, raw in shown.items()}
    user = static["user"] - FIRST_ID
    known = "probability" in impressions.columns
    write_by_split(
        writer,
        periods,
        user=user,
        end=log.ends(user, times),
        time=times,
        label=impressions["label"].to_numpy(),
        static=static,
        probability=impressions["probability"].to_numpy() if known else None,
    )
    first = min(int(times.min()), int(log.time.min())) if len(log.time) else int(times.min())
    schema = click_schema(vocabularies, periods.validation - first, length)
    return Contents(schema, periods.validation, periods.test, defects)
