"""Reads new rows from a file or a data frame in blocks: all columns as they are, and the typed fields of each row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Protocol

import polars as pl

from mdaf.data.new_rows.row_format import TIME, Cell, RowFormat
from mdaf.data.reading.cells import flag, said
from mdaf.data.reading.defects import Defects
from mdaf.data.reading.formats.by_ending import JSON, PARQUET
from mdaf.data.reading.formats.delimited import BAD_QUOTES, MORE, NOT_JSON, NOT_UTF8, SPELLED, TextFile, spelled_out
from mdaf.data.reading.formats.json_lines import JsonLines
from mdaf.data.reading.formats.lines import beginning_of_text, compression, line_blocks
from mdaf.data.reading.formats.parquet import ParquetFile, as_text
from mdaf.data.reading.times import out_of_range, unix_times
from mdaf.errors import DataError, did_you_mean
from mdaf.terminal.printable import in_a_line

_BLOCK_BYTES = 1 << 24
_SLICE = 1 << 18  # rows of a Parquet file that are read at once
_ROW_GROUP = 1 << 32
_LONGEST = 40  # the most characters of a value in a message
LABEL = "label"


class Block(NamedTuple):
    """Some rows.

    ``frame``  all columns, as given.
    ``text``   the needed ones as text: column -> null for an empty cell.
    ``more``   what is wrong with a line of text, null for a good line.
    ``first``  the number of the first row, from 1, as it is counted in messages.
    ``share``  the share of all that is read, up to the end of this block.
    """

    frame: pl.DataFrame
    text: pl.DataFrame
    more: pl.Series | None
    first: int
    share: float


class Table(Protocol):
    """Something that has rows. ``name`` and ``row`` are what messages call it and a row of it."""

    name: str
    row: str

    def columns(self, wanted: Sequence[str]) -> list[str]:
        """The names of all columns. DataError if this cannot be read; ``wanted`` helps to find the separator."""

    def kinds(self) -> Mapping[str, pl.DataType]:
        """The types of columns that are not text."""

    def blocks(self, needed: Sequence[str]) -> Iterator[Block]:
        """The rows, with the text of the needed columns."""


class _Lines:
    """Delimited text. Its first line names its columns, or it has those of one of ``headers``."""

    row = "line"

    def __init__(self, path: Path, separator: str, headers: Sequence[Sequence[str]]) -> None:
        self.name = str(path)
        self._path = path
        self._separator = spelled_out(separator)
        self._headers = headers
        self._header: Sequence[str] = ()
        self._named = True
        self._columns: list[str] = []
        self._written: list[str] = []

    def _file(self, columns: Sequence[str], separator: str | None = None) -> TextFile:
        expected = f"the columns {', '.join(columns)}{', named in the first line' if self._named else ''}"
        return TextFile(
            self._path,
            columns,
            expected,
            separator or self._separator,
            header=self._named,
            quotes=True,
            names=() if self._named else self._header,
        )

    def columns(self, wanted: Sequence[str]) -> list[str]:
        # In an atomic file a column ``user_id`` is called ``user_id:token``, and stays so in what is written.
        first = {one: self._file(wanted, one).header_names() for one in dict.fromkeys((self._separator, *SPELLED))}
        fitting = [separator for separator, names in first.items() if set(wanted) <= set(names)]
        if fitting:
            self._separator = fitting[0]
        else:
            width = len(first[self._separator])
            self._header = next((names for names in self._headers if len(names) == width), ())
            self._named = not self._header
        self._file(wanted).check()
        self._columns = self._file(wanted).header_names() if self._named else list(self._header)
        self._written = self._file(()).header_names() if self._named else self._columns
        if doubled := [name for name in self._columns if self._columns.count(name) > 1]:
            raise DataError(f"{self.name} has several columns {doubled[0]!r}; expected one of each")
        return self._columns

    def kinds(self) -> Mapping[str, pl.DataType]:
        return {}

    def blocks(self, needed: Sequence[str]) -> Iterator[Block]:
        for lines in self._file(self._columns).frames(_BLOCK_BYTES):
            frame = lines.frame.drop(MORE)
            text = frame.select(needed)
            frame.columns = self._written
            yield Block(frame, text, lines.frame[MORE], lines.first, lines.share)


class _Json:
    """JSON lines. An object may lack a key; all objects have the types of the first block."""

    row = "line"

    def __init__(self, path: Path, between: Mapping[str, str]) -> None:
        self.name = str(path)
        self._path = path
        self._between = between

    def columns(self, wanted: Sequence[str]) -> list[str]:
        self._objects(wanted).check()
        # A key within an object is no column of the file, but may be wanted.
        return list(dict.fromkeys((*self._schema, *wanted)))

    def _objects(self, keys: Sequence[str]) -> JsonLines:
        return JsonLines(self._path, keys, f"the keys {', '.join(keys)}", self._between)

    def kinds(self) -> Mapping[str, pl.DataType]:
        return {}  # every key is read as text

    @cached_property
    def _schema(self) -> Mapping[str, pl.DataType]:
        head = beginning_of_text(self._path, _BLOCK_BYTES)
        return self._read(head if head.endswith(b"\n") else head[: head.rfind(b"\n") + 1] or head, None).schema

    def blocks(self, needed: Sequence[str]) -> Iterator[Block]:
        texts = self._objects(needed).frames(_BLOCK_BYTES)
        for (content, _), lines in zip(line_blocks(self._path, _BLOCK_BYTES), texts, strict=True):
            frame = self._read(content, self._schema)
            text, more = lines.frame.drop(MORE), lines.frame[MORE]
            if len(frame) != len(text):  # blank lines, or others that are no objects
                content = b"\n".join(
                    line if line.strip() else b"{}" for line in content.removesuffix(b"\n").split(b"\n")
                )
                frame = self._read(content, self._schema)
            yield Block(frame, text, more, lines.first, lines.share)

    def _read(self, content: bytes, schema: Mapping[str, pl.DataType] | None) -> pl.DataFrame:
        try:
            return pl.read_ndjson(content, schema=schema, infer_schema_length=None)
        except (pl.exceptions.PolarsError, BaseExceptionGroup) as error:
            reason = next(iter(str(error).splitlines()), "")
            raise DataError(f"{self.name} cannot be read as JSON lines: {reason}") from None


class _Parquet:
    row = "row"

    def __init__(self, path: Path, between: Mapping[str, str]) -> None:
        self.name = str(path)
        self._path = path
        self._between = between

    def columns(self, wanted: Sequence[str]) -> list[str]:
        expected = f"the columns {', '.join(wanted)}"
        ParquetFile(self._path, wanted, expected, _ROW_GROUP, self._between).check()
        return list(pl.read_parquet_schema(self._path))

    def kinds(self) -> Mapping[str, pl.DataType]:
        return pl.read_parquet_schema(self._path)

    def blocks(self, needed: Sequence[str]) -> Iterator[Block]:
        file = pl.scan_parquet(self._path)
        try:
            total = file.select(pl.len()).collect().item()
            for start in range(0, total, _SLICE):
                frame = file.slice(start, _SLICE).collect()
                yield Block(
                    frame, _texts(frame, needed, self._between), None, start + 1, min(1.0, (start + _SLICE) / total)
                )
        except pl.exceptions.PolarsError as error:
            raise DataError(f"{self.name} cannot be read: {next(iter(str(error).splitlines()), '')}") from None


class _Frame:
    row = "row"

    def __init__(self, frame: pl.DataFrame, name: str, between: Mapping[str, str]) -> None:
        self.name = name
        self._frame = frame
        self._between = between

    def columns(self, wanted: Sequence[str]) -> list[str]:
        if absent := [name for name in wanted if name not in self._frame.columns]:
            raise DataError(
                f"{self.name} has no column {absent[0]!r}, it has {', '.join(self._frame.columns) or 'none'}; expected "
                f"{', '.join(wanted)}{did_you_mean(absent[0], self._frame.columns)}"
            )
        return list(self._frame.columns)

    def kinds(self) -> Mapping[str, pl.DataType]:
        return self._frame.schema

    def blocks(self, needed: Sequence[str]) -> Iterator[Block]:
        for start in range(0, len(self._frame), _SLICE):
            frame = self._frame.slice(start, _SLICE)
            yield Block(
                frame,
                _texts(frame, needed, self._between),
                None,
                start + 1,
                min(1.0, (start + _SLICE) / len(self._frame)),
            )


def table_of(given: Path | pl.DataFrame, form: RowFormat, name: str = "the data frame") -> Table:
    """The rows in a file, told by its ending, or in a data frame, which messages call ``name``."""
    if isinstance(given, pl.DataFrame):
        return _Frame(given, name, form.between)
    if not given.is_file():
        found = "is a folder" if given.is_dir() else "does not exist" if not given.exists() else "is no regular file"
        raise DataError(f"{given} {found}; expected a file of rows, CSV, TSV, JSON lines or Parquet")
    ending = (given.with_suffix("") if compression(given) else given).suffix.lower()
    if ending in JSON:
        return _Json(given, form.between)
    return _Parquet(given, form.between) if ending in PARQUET else _Lines(given, form.separator, form.headers)


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
        kind, ahead = self.table.kinds().get(cell.column), int(self.form.utc_offset_hours * 3600)
        if kind is None or not kind.is_temporal():
            return unix_times(TIME, self.form.time_format, self.form.utc_offset_hours)
        return unix_times(TIME, "seconds", 0) - (ahead if getattr(kind, "time_zone", None) is None else 0)

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
            lost = typed[TIME].is_null() | typed.select(out_of_range(TIME)).to_series().fill_null(True)
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


def _texts(frame: pl.DataFrame, columns: Sequence[str], between: Mapping[str, str]) -> pl.DataFrame:
    return frame.select(as_text(frame[name], between.get(name)).replace("", None).alias(name) for name in columns)
