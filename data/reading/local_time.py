"""Local hours, days and weekdays from unix seconds (seconds since 1970 in UTC) and a fixed offset to UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TypeVar

import numpy as np
import polars as pl

from mdaf.errors import DataError

DAY = 86_400

Time = TypeVar("Time", np.ndarray, pl.Expr)

FARTHEST = 1 << 33  # seconds before or after 1970 that a log may contain, 272 years; sorting relies on it
_THURSDAY = 3  # the weekday of 1970-01-01, Monday being 0


def unix_seconds(text: str, key: str, utc_offset_hours: float) -> int:
    """Unix seconds of a local date or time in ISO format. Raises DataError, which names the config's ``key``."""
    try:
        local = datetime.fromisoformat(str(text))
    except ValueError:
        local = None
    if local is None or local.tzinfo is not None:
        raise DataError(f"data.{key}={text}: expected a local date or time such as 2017-12-02 or 2017-12-02T12:00:00")
    return int((local.replace(tzinfo=UTC) - timedelta(hours=utc_offset_hours)).timestamp())


def local_text(time: int, utc_offset_hours: float) -> str:
    """Unix seconds as a local date and time for people; not by the system, which does not bear every time."""
    local = datetime(1970, 1, 1) + timedelta(seconds=time + int(utc_offset_hours * 3600))
    return local.isoformat(sep=" ")


def too_far(time: pl.Expr) -> pl.Expr:
    """Whether a time is beyond ``FARTHEST``; null if the time is null.

    It does not use the absolute value, since the least int64 has none.
    """
    return ~time.is_between(-FARTHEST, FARTHEST)


def local_days(time: Time, utc_offset_hours: float) -> Time:
    """Days since 1970-01-01 in local time, int64."""
    return (time + int(utc_offset_hours * 3600)) // DAY


def local_hours(time: Time, utc_offset_hours: float) -> Time:
    """Hour of the local day, 0 to 23, int64."""
    return (time + int(utc_offset_hours * 3600)) % DAY // 3600


def local_weekdays(time: Time, utc_offset_hours: float) -> Time:
    """Day of the local week, Monday 0 to Sunday 6, int64."""
    return (local_days(time, utc_offset_hours) + _THURSDAY) % 7
