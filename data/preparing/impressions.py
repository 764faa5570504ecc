"""Writes the store of a log with impressions. Each impression is a sample; its label says whether it was clicked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mdaf.data.preparing.assembly import Assembly
from mdaf.data.preparing.raw_log import RawLog
from mdaf.data.preparing.source import Contents
from mdaf.data.preparing.vocabularies import write_vocabularies
from mdaf.data.reading.defects import Defects
from mdaf.data.reading.local_time import local_text
from mdaf.data.schema import FIRST_ID
from mdaf.data.store.event_store import USER_TABLE
from mdaf.data.store.writer import StoreWriter
from mdaf.errors import DataError
from mdaf.terminal.progress import Progress


def write_impressions(
    writer: StoreWriter,
    log: RawLog,
    folder: Path,
    *,
    min_count: Mapping[str, int],
    memory_gb: float,
    defects: Defects,
    progress: Progress,
    unique: bool = False,
) -> Contents:
    """Writes the store of a clean log that has samples. A history contains its user's events before the sample.

    ``folder``     for temporary files.
    ``min_count``  table -> how often an id must occur in training to have a row; default 1.
    ``unique``     whether to drop, and to count, events that equal an earlier one in all fields.

    Raises DataError if there is nothing to train on.
    """
    progress("building vocabularies", 0.0)
    if not log.trained_rows:
        raise nothing_to_train_on("sample", log)
    encoding = log.encode(min_count)
    fitted = write_vocabularies(writer, log.layout, encoding.vocabularies, min_count)
    assembly = Assembly(log, encoding, folder, memory_gb, unique)
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
    schema = log.layout.schema(encoding.vocabularies, log.longest_gap(), fitted)
    cells = {table: found.rows for table, found in fitted.items()}
    return Contents(schema, *log.boundaries, defects, promise=log.splits.promise, cells=cells)


def nothing_to_train_on(kind: str, log: RawLog) -> DataError:
    """The error if no sample or event, ``kind``, is of training."""
    where = "lies before the validation period" if log.splits.by_time else "is of training"
    error = f"no {kind} {where}: nothing to train on ({log.splits.keys})"
    if log.first_time is not None:
        error += f"; the log begins {local_text(log.first_time, log.splits.utc_offset_hours)}"
    return DataError(error)
