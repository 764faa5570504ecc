"""The rule ``data.splits=leave_one_out``: each user's last row is the test, and the one before it validation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from mdaf.data.preparing.spill import SpilledFrames
from mdaf.data.preparing.splits.rules import ByRow
from mdaf.data.store.event_store import USER_TABLE
from mdaf.data.store.promises import WITHIN_USERS

if TYPE_CHECKING:
    from mdaf.data.preparing.assembly import SortedEvents

ROW = "#row"  # the number of a row in its log
_COMPACT_AT = 1 << 22


@dataclass(frozen=True)
class LeaveOneOut(ByRow):
    """Each user's last row is the test, the one before it validation, and all others train.

    Of rows at the same time the later one in the log is the later one. A user with fewer than three rows trains only.

    ``last``  one row for each other user: user, the time and the number of the row that validates, and the number of
              the row that tests; see ``last_rows``.
    """

    last: pl.DataFrame

    promise = WITHIN_USERS
    keys = "data.splits"

    def trained(self, rows: pl.DataFrame) -> pl.Series:
        """See ``Splits``; ``rows`` have the column ``ROW``."""
        return self._joined(rows).select(_before_validation()).to_series()

    def sampled(self, rows: pl.DataFrame) -> pl.DataFrame:
        """See ``Splits``; ``rows`` have the column ``ROW``."""
        tests = pl.when(pl.col(ROW) == pl.col("test row")).then(2).otherwise(1)
        split = pl.when(_before_validation()).then(0).otherwise(tests).cast(pl.Int8).alias("split")
        return rows.with_columns(self._joined(rows).select(split).to_series())

    def _joined(self, rows: pl.DataFrame) -> pl.DataFrame:
        return rows.select(USER_TABLE, "time", ROW).join(self.last, on=USER_TABLE, how="left", maintain_order="left")

    def of_events(
        self, events: SortedEvents, shown: np.ndarray, users: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """See ``Splits``."""
        assert events.training_ends is not None
        user = events.user - events.first_user
        late = np.arange(len(user)) >= (events.training_ends - events.offsets[0])[user]
        left_out = np.concatenate([[0], np.cumsum(late & shown)])
        mine = left_out[1:] - left_out[(events.offsets[:-1] - events.offsets[0])[user]]
        return np.where(late, np.minimum(np.maximum(mine, 1), 2), 0), shown


def _before_validation() -> pl.Expr:
    earlier = pl.col("time") < pl.col("validation time")
    tied = (pl.col("time") == pl.col("validation time")) & (pl.col(ROW) < pl.col("validation row"))
    return pl.col("validation time").is_null() | earlier | tied


def leave_one_out(
    rows: SpilledFrames, utc_offset_hours: float, view: str | None = None, distinct: Sequence[str] | None = None
) -> LeaveOneOut:
    """The rule for the rows of a log, of which those with the behaviour ``view`` become samples; None: all do.

    ``distinct``  as in ``last_rows``.
    """
    frames = numbered(rows)
    shown = frames if view is None else (frame.filter(pl.col("behaviour") == view) for frame in frames)
    return LeaveOneOut(utc_offset_hours, last_rows(shown, distinct))


def numbered(frames: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """The frames of a log with the column ``ROW``, int64."""
    before = 0
    for frame in frames:
        yield frame.with_columns(pl.int_range(before, before + len(frame), dtype=pl.Int64).alias(ROW))
        before += len(frame)


def last_rows(frames: Iterable[pl.DataFrame], distinct: Sequence[str] | None = None) -> pl.DataFrame:
    """The last rows of each user who has three, as ``LeaveOneOut`` needs them.

    ``frames``    the rows that may become samples, with the column ``ROW``. Only the last rows of each user are kept in
                  memory.
    ``distinct``  columns: of rows that are equal in them, in user and in time, only the first counts. None: all count.
    """
    latest = _Latest(distinct)
    for frame in frames:
        latest.add(frame)
    rows = latest.kept().filter(pl.len().over(USER_TABLE) >= 3)
    return rows.group_by(USER_TABLE, maintain_order=True).agg(
        pl.col("time").get(-2).alias("validation time"),
        pl.col(ROW).get(-2).alias("validation row"),
        pl.col(ROW).last().alias("test row"),
    )


@dataclass
class _Latest:
    """The last three rows of each user. Of rows that may repeat, all at the time of the third are kept."""

    distinct: Sequence[str] | None
    _parts: list[pl.DataFrame] = field(default_factory=list)
    _held: int = 0
    _compacted: int = 0

    def add(self, rows: pl.DataFrame) -> None:
        key = [] if self.distinct is None else [pl.struct(self.distinct).hash().alias("#key")]
        self._parts.append(self._last(rows.select(USER_TABLE, "time", ROW, *key)))
        self._held += len(self._parts[-1])
        if self._held > _COMPACT_AT and self._held > 2 * self._compacted:
            self._parts = [self.kept()]
            self._held = self._compacted = len(self._parts[0])

    def kept(self) -> pl.DataFrame:
        return self._last(pl.concat(self._parts))

    def _last(self, rows: pl.DataFrame) -> pl.DataFrame:
        rows = rows.sort(USER_TABLE, "time", ROW)
        if self.distinct is None:
            return rows.group_by(USER_TABLE, maintain_order=True).tail(3)
        rows = rows.unique([USER_TABLE, "time", "#key"], keep="first", maintain_order=True)
        return rows.filter(pl.col("time") >= pl.col("time").tail(3).min().over(USER_TABLE))
