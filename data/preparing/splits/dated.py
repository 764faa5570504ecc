"""How sources are split whose configs have dates."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from mdaf.data.preparing.layout import Periods
from mdaf.data.preparing.source import check_shares
from mdaf.data.preparing.spill import SpilledFrames
from mdaf.data.preparing.splits.leave_one_out import leave_one_out, numbered
from mdaf.data.preparing.splits.rules import BY_TIME, BY_USER, ByTime, ByUser, Splits, rule_of
from mdaf.errors import DataError

SHARE = 0.1  # of validation and of the test, of users, where the config says none


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
