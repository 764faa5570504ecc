"""What a source says about new rows: their columns, how a cell becomes a raw value, and what belongs to whom."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol, runtime_checkable

import polars as pl

from mdaf.data.reading.cells import number, word
from mdaf.data.store.event_store import EventStore

TIME = "time"
_WHOSE = ("user", "item", TIME)  # what is read whether it is a field or not

# From when on the value of an item's or a user's field is known:
#   at, before, day  the store has one value for the whole log, known from its first row on: at that very time, after
#                    it, or from the first second of its day and split on. It goes before what a new row says.
#   always           a description of the item or the user, without a time.
#   latest           every row of the log says it. A row that does not takes what was said last.
When = Literal["at", "before", "day", "always", "latest"]


@dataclass(frozen=True)
class Cell:
    """Where the raw value of a field stands.

    ``column``  the file's column.
    ``typed``   the raw value, from a column of text that is called like the field.
    ``needed``  whether a file without this column is refused.
    """

    column: str
    typed: pl.Expr
    needed: bool = True


@dataclass(frozen=True)
class Own:
    """A field that belongs to an ``owner``, ``item`` or ``user``: known for one that the store knows."""

    owner: str
    when: When

    @property
    def settled(self) -> bool:
        """Whether the store's value goes before that of a new row."""
        return self.when in ("at", "before", "day")


@dataclass(frozen=True)
class RowFormat:
    """How new rows of a source are written.

    ``rows``       field -> cell, for rows that are to be scored.
    ``events``     field -> cell, for events that are given beside them; empty if there is no such file.
    ``own``        field of a row -> its owner. Such a field may lack its column.
    ``event_own``  the same of an event.
    ``label``      the column by which events tell whether they are one: at least ``positive_from``. Events without this
                   column are all one; None: there is no such column.
    ``unique``     whether an event that equals an earlier one in all fields is left out.
    ``lists``      event field -> the field of a row that lists its values, oldest first, where each row has a history
                   of its own; there are no times then.
    ``separator``  of text, unless the header shows another one.
    ``between``    column -> what stands between the values of a list, where a cell holds a list.
    ``headers``    the names of the columns of text whose first line does not name them: one of these, by their number.
    """

    rows: Mapping[str, Cell]
    events: Mapping[str, Cell]
    own: Mapping[str, Own]
    event_own: Mapping[str, Own]
    utc_offset_hours: float = 0.0
    time_format: str = "seconds"
    label: str | None = None
    positive_from: float = 1.0
    unique: bool = False
    lists: Mapping[str, str] = field(default_factory=dict)
    separator: str = ","
    headers: Sequence[Sequence[str]] = ()
    between: Mapping[str, str] = field(default_factory=dict)

    def of(self, store: EventStore) -> RowFormat:
        """This format without what the samples and events of a store do not have.

        What tables beside the log have said of items and users holds without a time.
        """
        static, events = ({f.name for f in fields} for fields in (store.schema.static, store.schema.sequence))
        in_rows, in_events = {*_WHOSE, *static, *self.lists.values()}, {*_WHOSE, *events}
        tables = {owner: store.manifest.get(f"{owner}_table") or {} for owner in ("item", "user")}
        told = {name: Own(owner, "always") for owner, table in tables.items() for name in table.get("fields", ())}
        return replace(
            self,
            rows={name: cell for name, cell in self.rows.items() if name in in_rows},
            events={name: cell for name, cell in self.events.items() if name in in_events},
            own={name: told.get(name, own) for name, own in self.own.items()},
            event_own={name: told.get(name, own) for name, own in self.event_own.items()},
        )


@runtime_checkable
class DescribesRows(Protocol):
    """A source that says how new rows are written."""

    def new_rows(self) -> RowFormat:
        """The format of rows that a model is to score."""


def words(columns: Mapping[str, str], optional: Collection[str] = ()) -> dict[str, Cell]:
    """Cells of words, in these ``columns``: field -> column. Columns of the ``optional`` fields may be absent."""
    return {name: Cell(column, word(name), name not in optional) for name, column in columns.items()}


def numbers(*names: str, optional: Collection[str] = ()) -> dict[str, Cell]:
    """Cells of whole numbers, in columns that are called like the fields."""
    return {name: Cell(name, number(name), name not in optional) for name in names}
