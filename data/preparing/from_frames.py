"""The store of a log that a source from outside reads into data frames: the stable way for code of somebody else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import polars as pl

from mdaf.data.preparing.impressions import write_impressions
from mdaf.data.preparing.layout import MOMENTS, Layout, Periods
from mdaf.data.preparing.raw_log import RawLog
from mdaf.data.preparing.source import Contents
from mdaf.data.preparing.splits.rules import ByTime
from mdaf.data.reading.defects import Defects
from mdaf.data.store.writer import StoreWriter
from mdaf.errors import DataError
from mdaf.terminal.progress import Progress

LABEL = "label"
WHOSE = ("user", "time")


def write_frames(
    writer: StoreWriter,
    progress: Progress,
    blocks: Iterable[tuple[pl.DataFrame, pl.DataFrame]],
    *,
    event_fields: Sequence[str],
    sample_fields: Sequence[str],
    length: int,
    validation: int,
    test: int,
    utc_offset_hours: float = 0.0,
    min_count: Mapping[str, int] | None = None,
    memory_gb: float = 4.0,
) -> Contents:
    """Writes the store of a log of impressions and returns what ``Source.build`` returns.

    ``blocks``         events and samples, as many rows at a time as fit the memory, in any order. Both have the columns
                       ``user`` and ``time`` (unix seconds, integers) and the fields below; samples have ``label``, 0
                       or 1, besides. Ids are integers or texts; a missing value is null.
    ``event_fields``   columns that each event of a history has, such as ``("item", "category")``.
    ``sample_fields``  columns that each sample has, such as ``("user", "item", "category")``. Hour and weekday join.
    ``length``         events of a history, at most: the last ones before the sample.
    ``validation``     unix seconds at which the validation period begins, and the ``test`` period.
    ``min_count``      field -> occurrences in training that give an id its own row; others share one.

    Raises DataError if a column is missing, or if nothing lies before the validation period.
    """
    periods = Periods(validation, test, utc_offset_hours)
    static = (*dict.fromkeys(("user", *sample_fields)), *MOMENTS)
    rows = 0
    with writer.workspace() as folder:
        log = RawLog(folder, Layout(tuple(event_fields), static, length), ByTime(periods))
        for events, samples in blocks:
            progress("reading", 0.0)
            log.add_events(_columns(events, "events", (*WHOSE, *event_fields)))
            labelled = _columns(samples, "samples", (*WHOSE, LABEL, *sample_fields))
            log.add_samples(labelled.with_columns(pl.col(LABEL).cast(pl.UInt8), *periods.moments()))
            rows += len(events) + len(samples)
        defects, counts = Defects(rows=rows), min_count or {}
        return write_impressions(
            writer, log, folder, min_count=counts, memory_gb=memory_gb, defects=defects, progress=progress
        )


def _columns(frame: pl.DataFrame, what: str, names: Sequence[str]) -> pl.DataFrame:
    """The frame with these columns alone. DataError names one that is missing, and a time that is no integer."""
    if missing := [name for name in names if name not in frame.columns]:
        raise DataError(f"{what} have no column {missing[0]}; found {', '.join(frame.columns)}")
    if not frame.schema["time"].is_integer():
        raise DataError(f"{what}: time is {frame.schema['time']}, expected unix seconds, integers")
    return frame.select(list(dict.fromkeys(names))).with_columns(pl.col("time").cast(pl.Int64))
