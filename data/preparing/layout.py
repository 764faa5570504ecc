"""The fields of a log, their embedding tables, the store's schema, and the periods of training, validation and test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from mdaf.data.reading.local_time import local_hours, local_weekdays
from mdaf.data.schema import FIRST_ID, LIST, MATCH_ROWS, Cells, Field, Schema
from mdaf.data.store.batches.time_gaps import gap_buckets
from mdaf.data.store.cell_rows import Fitted, Rule
from mdaf.data.store.event_store import GAP_FIELD, MATCH_PREFIX, USER_TABLE
from mdaf.data.store.vocabulary import Vocabulary

MOMENTS = ("hour", "weekday")
CLICK_EVENTS = ("item", "category", "behaviour")
CLICK_STATIC = (USER_TABLE, "item", "category", *MOMENTS)
CLICK_TABLES = (USER_TABLE, "item", "category", "behaviour", *MOMENTS)


@dataclass(frozen=True)
class Layout:
    """The fields of a log. A field reads the table of its own name, so fields with the same name share a table.

    ``events``  the fields of an event in a history.
    ``static``  the fields of a sample, ``user`` among them.
    ``gaps``    whether each event has the time between it and the sample as a field.
    ``owner``   the raw column that assigns events and samples to histories: the user, unless every sample has a
                history of its own.
    ``cells``   field -> how its cells become rows of its table, for numeric and multi-valued fields.
    """

    events: tuple[str, ...]
    static: tuple[str, ...]
    length: int
    gaps: bool = True
    owner: str = USER_TABLE
    cells: Mapping[str, Rule] = field(default_factory=dict)

    @property
    def shared(self) -> tuple[str, ...]:
        """The fields that both events and candidates have."""
        return tuple(name for name in self.events if name in self.static)

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables that have a vocabulary."""
        return tuple(dict.fromkeys((*self.static, *self.events)))

    def schema(
        self, vocabularies: Mapping[str, Vocabulary], longest_gap: int, fitted: Mapping[str, Fitted] | None = None
    ) -> Schema:
        """The schema of the store.

        Each event is compared with the candidate on the fields that both have, but for numbers. Lists are equal if they
        have the same members.

        ``longest_gap``  the longest time between event and sample, in seconds.
        ``fitted``       what was fitted to the fields of ``cells``.
        """
        fitted = fitted or {}
        tables = {table: vocabularies[table].rows for table in self.tables}
        tables |= {table: found.rows.rows for table, found in fitted.items()}
        cells = {table: Cells(found.rows.kind, found.members) for table, found in fitted.items()}
        compared = [name for name in self.shared if name not in cells or cells[name].kind == LIST]
        sequence = [Field(name, name) for name in self.events]
        if self.gaps:
            tables["gap"] = FIRST_ID + gap_buckets(longest_gap)
            sequence.append(Field(GAP_FIELD, "gap"))
        if compared:
            tables["match"] = MATCH_ROWS
        return Schema(
            tables=tables,
            static=tuple(Field(name, name) for name in self.static),
            sequence=tuple(sequence),
            matches=tuple(Field(f"{MATCH_PREFIX}{name}", "match") for name in compared),
            target={name: name for name in self.shared},
            length=self.length,
            cells=cells,
        )


def click_layout(length: int) -> Layout:
    """The layout of a plain click log: samples have user, item, category and moment; events behaviours as well."""
    return Layout(events=CLICK_EVENTS, static=CLICK_STATIC, length=length)


def moments(utc_offset_hours: float) -> tuple[pl.Expr, pl.Expr]:
    """Columns hour (0 to 23) and weekday (Monday 0) in local time, of a column ``time``."""
    hour, weekday = local_hours(pl.col("time"), utc_offset_hours), local_weekdays(pl.col("time"), utc_offset_hours)
    return hour.cast(pl.Int8).alias("hour"), weekday.cast(pl.Int8).alias("weekday")


@dataclass(frozen=True)
class Periods:
    """When validation and test begin, in unix seconds, and the log's offset to UTC in hours.

    If both begin at the same time, something other than time decides between validation and test.
    """

    validation: int
    test: int
    utc_offset_hours: float

    def moments(self) -> tuple[pl.Expr, pl.Expr]:
        """Columns hour (0 to 23) and weekday (Monday 0) in local time, of a column ``time``."""
        return moments(self.utc_offset_hours)

    def splits_of(self, time: np.ndarray) -> np.ndarray:
        """The index in ``SPLITS`` of the split to which each time belongs, int64."""
        return np.searchsorted([self.validation, self.test], time, side="right")

    def split_of(self, time: pl.Expr) -> pl.Expr:
        """The index in ``SPLITS`` of the split to which a time belongs."""
        return (time >= self.validation).cast(pl.Int8) + (time >= self.test).cast(pl.Int8)
