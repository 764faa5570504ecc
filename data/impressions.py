"""Samples from a log that says what was shown and what was clicked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from data.assembly import Assembly
from data.defects import Defects
from data.errors import DataError
from data.layout import Periods
from data.progress import Progress
from data.raw_log import RawLog
from data.schema import FIRST_ID
from data.source import Contents
from data.store import USER_TABLE
from data.writer import StoreWriter


def write_impressions(
    writer: StoreWriter,
    log: RawLog,
    folder: Path,
    *,
    periods: Periods,
    min_count: Mapping[str, int],
    memory_gb: float,
    defects: Defects,
    progress: Progress,
    unique: bool = False,
) -> Contents:
    """Writes the store of a clean log: each of its samples, with the history of its user's events before it.

    ``folder``     for what must wait on disk.
    ``min_count``  table -> occurrences in events and samples of training that give an id a row.
    ``unique``     whether events that repeat another in all fields are left out, and counted.
    """
    progress("building vocabularies", 0.0)
    if not log.trained_rows:
        raise DataError("no sample lies before the validation period: nothing to train on (data.validation_start)")
    encoding = log.encode(min_count)
    for table in log.layout.tables:
        writer.vocabulary(table, encoding.vocabularies[table])
    assembly = Assembly(log, encoding, periods, folder, memory_gb, unique)
    users_of: list[np.ndarray] = []
    for events, samples in assembly.write_events(writer, progress):
        samples.write(writer, events.ends(samples.user, samples.time))
        if log.layout.owner != USER_TABLE:
            users = np.zeros(len(events.offsets) - 1, dtype=np.int32)
            users[samples.user - events.first_user] = samples.static[USER_TABLE] - FIRST_ID
            users_of.append(users)
    if users_of:
        writer.users_of(np.concatenate(users_of))
    defects += Defects(dropped={"repeated row": assembly.repeated}, corrected=encoding.changed)
    assert log.first_time is not None
    schema = log.layout.schema(encoding.vocabularies, periods.validation - log.first_time)
    return Contents(schema, periods.validation, periods.test, defects)
