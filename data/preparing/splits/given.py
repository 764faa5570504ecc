"""Finds out which promise holds of samples that say their split themselves, and which events then train."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from mdaf.data.preparing.layout import Periods
from mdaf.data.preparing.spill import SpilledFrames
from mdaf.data.preparing.splits.rules import ByRow, ByTime, Splits
from mdaf.data.store.event_store import SPLITS, USER_TABLE
from mdaf.data.store.promises import NONE, TRAINING_FIRST_WITHIN_USERS, USERS, WITHIN_USERS
from mdaf.errors import DataError

if TYPE_CHECKING:
    from mdaf.data.preparing.assembly import SortedEvents

_NEVER = -(1 << 62)  # before all times


@dataclass(frozen=True)
class Given(ByRow):
    """Samples say their split themselves, and training does not end before the others begin.

    ``ends``     one row for each user with samples of validation or test: user, and the time before which his events
                 count as training.
    ``promise``  what was found to hold.
    """

    ends: pl.DataFrame
    promise: str

    keys = "data.samples_path"

    def trained(self, rows: pl.DataFrame) -> pl.Series:
        """See ``Splits``."""
        ends = rows.select(USER_TABLE).join(self.ends, on=USER_TABLE, how="left", maintain_order="left")["end"]
        return (rows["time"] < ends).fill_null(True)

    def sampled(self, rows: pl.DataFrame) -> pl.DataFrame:
        """See ``Splits``."""
        return rows

    def of_events(
        self, events: SortedEvents, shown: np.ndarray, users: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Samples are not made from events."""
        raise NotImplementedError


def given_splits(samples: SpilledFrames, path: str, utc_offset_hours: float) -> Splits:
    """The rule of samples with the columns user, time and split. ``path``: what messages call their file.

    If training ends before the others begin, events before that train. If not, but no user is in two splits, the events
    of users who train do, and otherwise each user's events before his first sample of validation or test.
    """
    spans = _spans(samples, "split").sort("split")
    if len(spans) < len(SPLITS):
        missing = next(name for number, name in enumerate(SPLITS) if number not in spans["split"])
        raise DataError(f"data.samples_path={path} has no row of split {missing}")
    first, last = spans["first"].to_list(), spans["last"].to_list()
    begins = min(first[1:])
    if last[0] < begins:
        return ByTime(Periods(begins, first[2] if last[1] < first[2] else begins, utc_offset_hours))
    users = _by_user(samples)
    promise = _promise(users)
    held = users.filter(pl.col("end").is_not_null())
    end = pl.lit(_NEVER, pl.Int64) if promise == USERS else pl.col("end")
    return Given(utc_offset_hours, held.select(USER_TABLE, end.alias("end")), promise)


def _spans(samples: SpilledFrames, *keys: str) -> pl.DataFrame:
    """The times of the first and of the last sample of each group."""
    parts = [frame.group_by(keys).agg(first=pl.col("time").min(), last=pl.col("time").max()) for frame in samples]
    return pl.concat(parts).group_by(keys).agg(pl.col("first").min(), pl.col("last").max())


def _by_user(samples: SpilledFrames) -> pl.DataFrame:
    """For each user the first and the last time in each split, null where there is none, and the first not to train."""
    spans = _spans(samples, USER_TABLE, "split")
    users = spans.select(USER_TABLE).unique()
    for number, name in enumerate(SPLITS):
        mine = spans.filter(pl.col("split") == number)
        mine = mine.select(USER_TABLE, pl.col("first").alias(f"{name} first"), pl.col("last").alias(f"{name} last"))
        users = users.join(mine, on=USER_TABLE, how="left")
    return users.with_columns(end=pl.min_horizontal("validation first", "test first"))


def _promise(users: pl.DataFrame) -> str:
    """The strongest promise that holds, of ``mdaf.data.store.promises``."""
    splits = pl.sum_horizontal(pl.col(f"{name} first").is_not_null() for name in SPLITS)
    train, end = pl.col("train last"), pl.col("end")
    found = users.select(
        apart=(splits <= 1).all(),
        trained_first=(train <= end).fill_null(True).all(),
        in_order=(pl.col("validation last") <= pl.col("test first")).fill_null(True).all(),
    ).row(0, named=True)
    if found["apart"]:
        return USERS
    if not found["trained_first"]:
        return NONE
    return WITHIN_USERS if found["in_order"] else TRAINING_FIRST_WITHIN_USERS
