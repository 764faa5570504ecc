"""New rows with their typed fields: those that are to be scored, and those that are events of a history."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from mdaf.data.new_rows.row_format import TIME, Cell, RowFormat
from mdaf.data.new_rows.tables import Block, Table
from mdaf.data.reading.cells import flag, said
from mdaf.data.reading.defects import Defects
from mdaf.data.reading.formats.delimited import BAD_QUOTES, NOT_JSON, NOT_UTF8
from mdaf.data.reading.times import out_of_range, times_of
from mdaf.errors import DataError
from mdaf.terminal.printable import in_a_line

_LONGEST = 40  # the most characters of a value in a message
LABEL = "label"


@dataclass(frozen=True)
class Rows:
    """A table whose cells a ``RowFormat`` describes.

    ``cells``  field -> cell; the fields whose column the table has.
    """

    table: Table
    form: RowFormat
    cells: Mapping[str, Cell]
    names: Sequence[str]

    @classmethod
    def of(cls, table: Table, form: RowFormat, cells: Mapping[str, Cell]) -> Rows:
        """DataError if the table lacks a column that is needed."""
        needed = list(dict.fromkeys(cell.column for cell in cells.values() if cell.needed))
        names = table.columns(needed)
        if form.label is not None and cells is form.events:
            cells = {**cells, LABEL: Cell(form.label, flag(LABEL), needed=False)}
        there = {name: cell for name, cell in cells.items() if cell.column in names}
        for name, cell in there.items():
            if (
                (kind := table.kinds().get(cell.column)) is not None
                and kind.is_nested()
                and not (isinstance(kind, pl.List) and cell.column in form.between)
            ):
                raise DataError(f"{table.name}: column {cell.column!r} ({name}) holds {kind}; expected plain values")
        return cls(table, form, there, names)

    def blocks(self) -> Iterator[tuple[Block, pl.DataFrame]]:
        """Blocks without blank lines, and the typed fields of each row."""
        needed = list(dict.fromkeys(cell.column for cell in self.cells.values()))
        for block in self.table.blocks(needed):
            text = block.text.select(pl.col(cell.column).alias(name) for name, cell in self.cells.items())
            yield block, text.select(self._typed(name, cell) for name, cell in self.cells.items())

    def _typed(self, name: str, cell: Cell) -> pl.Expr:
        if name != TIME:
            return cell.typed.alias(name)
        kind, where = self.table.kinds().get(cell.column), f"{self.table.name}: column {cell.column!r}"
        return times_of(TIME, kind, self.form.time_format, self.form.utc_offset_hours, where)

    def scorable(self) -> Iterator[tuple[pl.DataFrame, pl.DataFrame, float]]:
        """All rows: their columns as given, their typed fields, and the share that is read. Blank lines are left out.

        DataError for the first row that cannot be scored, since every row is to have a score.
        """
        for block, typed in self.blocks():
            blank = block.text.select(pl.all_horizontal(pl.all().is_null())).to_series()
            if block.more is not None:
                blank &= block.more.is_null()
                self._refuse(block, block.more.is_not_null(), lambda row, block=block: _defect(str(block.more[row])))
            else:
                blank = pl.repeat(False, len(blank), dtype=pl.Boolean, eager=True)
            for name in (TIME, "user", "item"):
                if name not in typed.columns:
                    continue
                raw, column = block.text[self.cells[name].column], self.cells[name].column
                bad = typed[name].is_null() & ~blank
                if name != TIME:  # a missing id is unknown
                    bad &= raw.to_frame().select(said(raw.name)).to_series()
                else:
                    bad |= typed.select(out_of_range(TIME)).to_series().fill_null(False)
                expected = "a number" if name != TIME else f"a time ({self.form.time_format})"
                self._refuse(
                    block,
                    bad,
                    lambda row, raw=raw, column=column, expected=expected: (
                        f"column {column!r} holds {_shown(raw[row])}; expected {expected}"
                    ),
                )
            if blank.any():
                yield block.frame.filter(~blank), typed.filter(~blank), block.share
            else:
                yield block.frame, typed, block.share

    def events(self) -> Iterator[tuple[pl.DataFrame, Defects, float]]:
        """The rows that are events of a history, with the numbers of the others, and the share that is read."""
        for block, typed in self.blocks():
            lost = pl.repeat(False, len(typed), dtype=pl.Boolean, eager=True)
            if TIME in typed.columns:
                lost |= typed[TIME].is_null() | typed.select(out_of_range(TIME)).to_series().fill_null(True)
            for name in ("user", "item"):
                if name in typed.columns and self.cells[name].needed:
                    lost |= typed[name].is_null()
            if block.more is not None:
                lost |= block.more.is_not_null()
            if LABEL in typed.columns:
                typed = typed.filter(~lost & (typed[LABEL] >= self.form.positive_from)).drop(LABEL)
            else:
                typed = typed.filter(~lost)
            dropped = {"no user, item or time that can be read": int(lost.sum())} if lost.any() else {}
            yield typed, Defects(len(lost), dropped), block.share

    def _refuse(self, block: Block, bad: pl.Series, why: object) -> None:
        if (row := bad.arg_max()) is not None and bad[row]:
            found = why(row)  # type: ignore[operator]
            raise DataError(in_a_line(f"{self.table.name}, {self.table.row} {block.first + row:,}: {found}"))


def _defect(more: str) -> str:
    return more if more in (NOT_UTF8, BAD_QUOTES, NOT_JSON) else f"too many fields, {_shown(more)} behind the last one"


def _shown(value: object) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
