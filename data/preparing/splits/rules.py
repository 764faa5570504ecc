"""Decides which split each row of a log is in: by time, by user, each user's last rows, or as a file of samples says.

Whatever the rule, the training events of a user are the first ones of his history. Only training rows count for the
vocabularies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import polars as pl

from mdaf.data.preparing.layout import Periods
from mdaf.data.preparing.source import refuse_others
from mdaf.data.store.event_store import SPLITS, USER_TABLE
from mdaf.data.store.held_out import held_out, share_of
from mdaf.data.store.promises import TIME, TRAINING_FIRST, USERS
from mdaf.errors import DataError

if TYPE_CHECKING:
    from mdaf.data.preparing.assembly import SortedEvents

BY_TIME, BY_USER, LEAVE_ONE_OUT, GIVEN = "time", "user", "leave_one_out", "given"
RULES = (BY_TIME, BY_USER, LEAVE_ONE_OUT, GIVEN)
_TEST = SPLITS.index("test")


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
class ByRow:
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
class ByUser(ByRow):
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
