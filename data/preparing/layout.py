"""Which fields a log has and which of them share a table: from this comes the store's schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from mdaf.data.reading.local_time import local_hours, local_weekdays
from mdaf.data.schema import FIRST_ID, MATCH_ROWS, Field, Schema
from mdaf.data.store.event_store import GAP_FIELD, MATCH_PREFIX, USER_TABLE
from mdaf.data.store.time_gaps import gap_buckets
from mdaf.data.store.vocabulary import Vocabulary

MOMENTS = ("hour", "weekday")
CLICK_EVENTS = ("item", "category", "behaviour")
CLICK_STATIC = (USER_TABLE, "item", "category", *MOMENTS)
CLICK_TABLES = (USER_TABLE, "item", "category", "behaviour", *MOMENTS)


@dataclass(frozen=True)
class Layout:
    """The fields of a log; a field reads the table of its own name, so fields of one name share it.

    ``events``  what an event of a history holds.
    ``static``  what a sample holds; ``user`` is among it.
    ``gaps``    whether each event carries the time between it and the sample.
    ``owner``   the raw column that says whose history an event belongs to and a sample reads: the user, unless every
                sample has a history of its own.
    """

    events: tuple[str, ...]
    static: tuple[str, ...]
    length: int
    gaps: bool = True
    owner: str = USER_TABLE

    @property
    def shared(self) -> tuple[str, ...]:
        """What both an event and a candidate have: compared for each event of a history."""
        return tuple(name for name in self.events if name in self.static)

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables that have a vocabulary."""
        return tuple(dict.fromkeys((*self.static, *self.events)))

    def schema(self, vocabularies: Mapping[str, Vocabulary], longest_gap: int) -> Schema:
        """The schema of the store; ``longest_gap`` seconds is the longest time between event and sample to tell."""
        tables = {table: vocabularies[table].rows for table in self.tables}
        sequence = [Field(name, name) for name in self.events]
        if self.gaps:
            tables["gap"] = FIRST_ID + gap_buckets(longest_gap)
            sequence.append(Field(GAP_FIELD, "gap"))
        if self.shared:
            tables["match"] = MATCH_ROWS
        return Schema(
            tables=tables,
            static=tuple(Field(name, name) for name in self.static),
            sequence=tuple(sequence),
            matches=tuple(Field(f"{MATCH_PREFIX}{name}", "match") for name in self.shared),
            target={name: name for name in self.shared},
            length=self.length,
        )


def click_layout(length: int) -> Layout:
    """The layout of a plain click log: user, item, category and moment; items, categories and behaviours."""
    return Layout(events=CLICK_EVENTS, static=CLICK_STATIC, length=length)


@dataclass(frozen=True)
class Periods:
    """Unix seconds at which validation and test begin, and the log's local time.

    Where both begin at once, something else than time tells validation from test.
    """

    validation: int
    test: int
    utc_offset_hours: float

    def moments(self) -> tuple[pl.Expr, pl.Expr]:
        """Columns hour (0 to 23) and weekday (Monday 0) in local time, of a column ``time``."""
        time, offset = pl.col("time"), self.utc_offset_hours
        hour, weekday = local_hours(time, offset), local_weekdays(time, offset)
        return hour.cast(pl.Int8).alias("hour"), weekday.cast(pl.Int8).alias("weekday")

    def split_of(self, time: pl.Expr) -> pl.Expr:
        """The number in ``SPLITS`` that a time belongs to."""
        return (time >= self.validation).cast(pl.Int8) + (time >= self.test).cast(pl.Int8)
