"""Files and data frames of new rows, in blocks: all columns as they are, and the text of those that are needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Protocol

import polars as pl

from mdaf.data.new_rows.row_format import RowFormat
from mdaf.data.reading.formats.by_ending import JSON, PARQUET
from mdaf.data.reading.formats.delimited import MORE, SPELLED, TextFile, spelled_out
from mdaf.data.reading.formats.json_lines import JsonLines
from mdaf.data.reading.formats.lines import beginning_of_text, compression, line_blocks
from mdaf.data.reading.formats.parquet import ParquetFile, as_text
from mdaf.errors import DataError, did_you_mean

_BLOCK_BYTES = 1 << 24
_SLICE = 1 << 18  # rows of a Parquet file that are read at once
_ROW_GROUP = 1 << 32


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


def _texts(frame: pl.DataFrame, columns: Sequence[str], between: Mapping[str, str]) -> pl.DataFrame:
    return frame.select(as_text(frame[name], between.get(name)).replace("", None).alias(name) for name in columns)
