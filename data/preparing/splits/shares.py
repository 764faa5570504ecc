"""Where the last shares of a log's rows begin: at which times, or at which rows of a log without times."""

from __future__ import annotations

import numpy as np
import polars as pl

from mdaf.data.preparing.spill import SpilledFrames
from mdaf.errors import DataError

_HOUR = 3600


def span_of(rows: SpilledFrames) -> tuple[int, int]:
    """The times of the first and of the last row, in unix seconds."""
    ends = [(int(frame["time"].min()), int(frame["time"].max())) for frame in rows]  # type: ignore[arg-type]
    return min(low for low, _ in ends), max(high for _, high in ends)


def periods_of_shares(rows: SpilledFrames, validation: float, test: float, path: str, reach: str) -> tuple[int, int]:
    """The unix seconds of the hours at which the last shares of the rows begin.

    ``path``, ``reach``  the file and its first and last time, for the error if there are too few hours.
    """
    hours = (
        pl.concat([frame.group_by(hour=pl.col("time") // _HOUR).agg(rows=pl.len()) for frame in rows])
        .group_by("hour")
        .agg(pl.col("rows").sum())
        .sort("hour")
    )
    begun = np.cumsum(hours["rows"].to_numpy()) / hours["rows"].sum()
    late = [1 - validation - test, 1 - test]
    first, second = (min(int(np.searchsorted(begun, share)) + 1, len(hours) - 1) for share in late)
    if not 0 < first < second:
        raise DataError(
            f"{path}: its {len(hours)} hours, {reach}, cannot be split into shares by time; set data.validation_start "
            "and data.test_start"
        )
    return int(hours["hour"][first]) * _HOUR, int(hours["hour"][second]) * _HOUR


def positions_of_shares(rows: SpilledFrames, validation: float, test: float, path: str) -> tuple[int, int]:
    """The numbers of the rows at which the last shares of a log without times begin; its rows are in their order."""
    begins = [int(rows.rows * share + 0.5) for share in (1 - validation - test, 1 - test)]
    if not 0 < begins[0] < begins[1] < rows.rows:
        raise DataError(f"{path}: its {rows.rows:,} rows cannot be split into shares; expected more rows")
    found, before = [], 0
    for frame in rows:
        found += [int(frame["time"][begin - before]) for begin in begins if before <= begin < before + len(frame)]
        before += len(frame)
    return found[0], found[1]
