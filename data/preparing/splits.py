"""Decides which split each row of a log is in: by time, by user, each user's last rows, or as a file of samples says.

Whatever the rule, the training events of a user are the first ones of his history. Only training rows count for the
vocabularies.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import polars as pl

from mdaf.data.preparing.layout import Periods
from mdaf.data.preparing.source import check_shares, refuse_others
from mdaf.data.preparing.spill import SpilledFrames
from mdaf.data.store.event_store import SPLITS, USER_TABLE
from mdaf.data.store.held_out import held_out, share_of
from mdaf.data.store.promises import TIME, TRAINING_FIRST, USERS, WITHIN_USERS
from mdaf.errors import DataError

if TYPE_CHECKING:
    from mdaf.data.preparing.assembly import SortedEvents

BY_TIME, BY_USER, LEAVE_ONE_OUT, GIVEN = "time", "user", "leave_one_out", "given"
RULES = (BY_TIME, BY_USER, LEAVE_ONE_OUT, GIVEN)
ROW = "#row"  # the number of a row in its log
SHARE = 0.1  # of validation and of the test, of users, where the config says none
_TEST = SPLITS.index("test")
_HOUR = 3600
_COMPACT_AT = 1 << 22


def rule_of(splits: str | None, held_out_users: float = 0.0, given: bool = False) -> str:
    """The rule of the setting ``data.splits``; None: by time, or what a file of samples says.

    ``given``  whether there is a file of samples.

    Raises DataError for a rule that there is not, or that does not go with the other settings.
    """
    if splits is None:
        return GIVEN if given else BY_TIME
    refuse_others("splits", splits, RULES)
    if splits == GIVEN and not given:
        raise DataError("data.splits=given: there is no file of samples; give it as data.samples_path=FILE")
    if splits != GIVEN and given:
        raise DataError(
            f"data.splits={splits}: the file of data.samples_path says which rows are in which split; leave it out"
        )
    if splits != BY_TIME and held_out_users:
        raise DataError(f"data.held_out_users: data.splits={splits} says which rows are the test; set it to 0")
    return splits


class Splits(Protocol):
    """A rule that decides which split each row is in."""

    @property
    def promise(self) -> str:
        """Which of ``mdaf.data.store.promises`` the rule keeps."""

    @property
    def by_time(self) -> bool:
        """Whether the same periods hold for all users. If not, the store keeps where each user's training ends."""

    @property
    def keys(self) -> str:
        """The settings that decide, for messages."""

    @property
    def utc_offset_hours(self) -> float:
        """The log's offset to UTC."""

    def trained(self, rows: pl.DataFrame) -> pl.Series:
        """Which rows of a log are of training, bool (rows,)."""

    def sampled(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows that become samples, with the column split: an index of ``SPLITS``."""

    def of_users(self, users: pl.Series) -> np.ndarray | None:
        """What ``of_events`` has to know of all users, (users,)."""

    def of_events(
        self, events: SortedEvents, shown: np.ndarray, users: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The split of each event, an index of ``SPLITS``, and which events become samples, (events,) each.

        ``shown``  which events show a candidate, (events,).
        ``users``  from ``of_users``.
        """

    def phase(self, time: np.ndarray) -> np.ndarray:
        """A number for each time that differs where one day belongs to several splits, int64."""

    def boundaries(self, last_trained: int) -> tuple[int, int]:
        """The unix seconds at which validation and test begin. ``last_trained``: the time of the last training row."""


@dataclass(frozen=True)
class ByTime:
    """The same periods for all users. With held-out users, the test has their rows alone, and the rest none of them."""

    periods: Periods
    held_out_users: float = 0.0
    owner: str = USER_TABLE

    by_time = True

    @property
    def promise(self) -> str:
        """Validation and test follow each other in time unless something else tells them apart."""
        return TIME if self.periods.test > self.periods.validation else TRAINING_FIRST

    @property
    def keys(self) -> str:
        """See ``Splits``."""
        return "data.validation_start, data.held_out_users" if self.held_out_users else "data.validation_start"

    @property
    def utc_offset_hours(self) -> float:
        """The log's offset to UTC."""
        return self.periods.utc_offset_hours

    def trained(self, rows: pl.DataFrame) -> pl.Series:
        """See ``Splits``."""
        early = rows["time"] < self.periods.validation
        return early & ~self._held(rows) if self.held_out_users else early

    def sampled(self, rows: pl.DataFrame) -> pl.DataFrame:
        """See ``Splits``."""
        if self.held_out_users:
            rows = rows.filter(self._held(rows) == (rows["time"] >= self.periods.test))
        return rows if "split" in rows.columns else rows.with_columns(split=self.periods.split_of(pl.col("time")))

    def of_users(self, users: pl.Series) -> np.ndarray | None:
        """Which users are held out, bool (users,); None: nobody is."""
        return held_out(users, self.held_out_users) if self.held_out_users else None

    def of_events(
        self, events: SortedEvents, shown: np.ndarray, users: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """See ``Splits``."""
        split = self.periods.splits_of(events.time)
        return split, shown if users is None else shown & (users[events.user] == (split == _TEST))

    def phase(self, time: np.ndarray) -> np.ndarray:
        """See ``Splits``."""
        return self.periods.splits_of(time)

    def boundaries(self, last_trained: int) -> tuple[int, int]:
        """See ``Splits``."""
        return self.periods.validation, self.periods.test

    def _held(self, rows: pl.DataFrame) -> pl.Series:
        return pl.Series(held_out(rows[self.owner], self.held_out_users))


@dataclass(frozen=True)
class _ByRow:
    """What rules have in common that look at each user for himself."""

    utc_offset_hours: float

    by_time = False

    def of_users(self, users: pl.Series) -> np.ndarray | None:
        """See ``Splits``."""
        return None

    def phase(self, time: np.ndarray) -> np.ndarray:
        """See ``Splits``."""
        return np.zeros(len(time), dtype=np.int64)

    def boundaries(self, last_trained: int) -> tuple[int, int]:
        """See ``Splits``."""
        return last_trained + 1, last_trained + 1


@dataclass(frozen=True)
class ByUser(_ByRow):
    """Whole users, told by a hash of their ids."""

    validation_share: float
    test_share: float

    promise = USERS
    keys = "data.validation_share, data.test_share"

    def trained(self, rows: pl.DataFrame) -> pl.Series:
        """See ``Splits``."""
        return pl.Series(self.of_users(rows[USER_TABLE]) == 0)

    def sampled(self, rows: pl.DataFrame) -> pl.DataFrame:
        """See ``Splits``."""
        return rows.with_columns(split=pl.Series(self.of_users(rows[USER_TABLE]).astype(np.int8)))

    def of_users(self, users: pl.Series) -> np.ndarray:
        """The split of each user, int64 (users,)."""
        share = share_of(users, b"splits by user")
        return (share < self.validation_share + self.test_share).astype(np.int64) + (share < self.test_share)

    def of_events(
        self, events: SortedEvents, shown: np.ndarray, users: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """See ``Splits``."""
        assert users is not None
        return users[events.user], shown


@dataclass(frozen=True)
class LeaveOneOut(_ByRow):
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


@dataclass(frozen=True)
class DatedSource:
    """How a source is split whose config has dates, which hold unless ``splits`` is another rule than that of time.

    ``splits``, ``validation_share``, ``test_share``, ``held_out_users``  as in its config.

    Raises DataError for settings that do not go together.
    """

    splits: str | None
    validation_share: float | None
    test_share: float | None
    held_out_users: float

    def __post_init__(self) -> None:
        check_shares(*self._shares)
        if self._rule != BY_USER and (self.validation_share, self.test_share) != (None, None):
            raise DataError("data.validation_share and data.test_share: they are of data.splits=user; leave them out")

    @property
    def _rule(self) -> str:
        return rule_of(self.splits, self.held_out_users)

    @property
    def _shares(self) -> tuple[float, float]:
        validation, test = self.validation_share, self.test_share
        return SHARE if validation is None else validation, SHARE if test is None else test

    def of(
        self,
        rows: Iterable[pl.DataFrame],
        folder: Path,
        periods: Periods,
        view: str | None = None,
        distinct: Sequence[str] | None = None,
    ) -> tuple[Splits, Iterable[pl.DataFrame]]:
        """The rule, and the rows, which are read to their end before if the rule needs that.

        ``folder``  for what was read. ``periods``: from the dates. ``view``, ``distinct``: as in ``leave_one_out``.
        """
        if self._rule == BY_USER:
            return ByUser(periods.utc_offset_hours, *self._shares), rows
        if self._rule == BY_TIME:
            return ByTime(periods, self.held_out_users), rows
        kept = SpilledFrames(folder / "rows")
        for frame in rows:
            kept.append(frame)
        return leave_one_out(kept, periods.utc_offset_hours, view, distinct), numbered(kept)


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


@dataclass(frozen=True)
class Given(_ByRow):
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
