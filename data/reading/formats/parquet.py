"""Reads columns of a Parquet file in slices that fit in memory, and returns them as ``TextFile`` returns lines."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import polars as pl

from mdaf.data.reading.formats.delimited import MORE, NOT_UTF8, REPLACEMENT, Lines, column_of, known_kind
from mdaf.data.reading.formats.lines import beginning
from mdaf.data.reading.formats.parquet_footer import largest_row_group
from mdaf.errors import DataError, did_you_mean

T = TypeVar("T")

_BYTES_OF_A_ROW = 64  # as text
_OTHERS = (pl.Duration, pl.Time)  # types that are neither numbers, nor words, nor times
_MARK = b"PAR1"  # the first and the last bytes of a Parquet file


@dataclass(frozen=True)
class ParquetFile:
    """A Parquet file. It must have the ``columns`` and may have others.

    ``expected``  a description of the format, for error messages.
    ``most``      the bytes that these columns may take in a row group, which is read as a whole.
    ``between``   column of lists -> what to put between their values.
    """

    path: Path
    columns: Sequence[str]
    expected: str
    most: int
    between: Mapping[str, str] = field(default_factory=dict)

    row = "row"  # what errors call one

    def check(self) -> None:
        """Raises DataError if the file is not a Parquet file, or lacks a column."""
        self._check_ends()
        names = self._tried(lambda: pl.read_parquet_schema(self.path))
        for name in self.columns:
            listed = _is_list(names.get(name))
            if listed and name in self.between:
                continue
            if name in names and (names[name].is_nested() or names[name] in _OTHERS):
                hint = ", or a column of lists that data.list_fields names" if listed else ""
                raise DataError(
                    f"{self.path}: column {name!r} holds {names[name]}; expected numbers, words or times{hint}"
                )
        absent = [name for name in self.columns if name not in names]
        if absent:
            raise DataError(
                f"{self.path} has no column {absent[0]!r}, it has {', '.join(names)}; expected {self.expected}"
                f"{did_you_mean(absent[0], names)}"
            )

    def _check_ends(self) -> None:
        head = beginning(self.path)
        if not head:
            raise DataError(f"{self.path} is empty; expected {self.expected}")
        if not head.startswith(_MARK):
            kind = known_kind(head) or "not a Parquet file, as its name says it is"
            raise DataError(f"{self.path} is {kind}; expected a Parquet file, {self.expected}")
        with self.path.open("rb") as file:
            file.seek(-min(len(head), len(_MARK)), os.SEEK_END)
            if file.read() != _MARK:
                raise DataError(
                    f"{self.path} does not end as a Parquet file does: it was cut off; write or copy it again"
                )

    def has(self, column: str) -> bool:
        """Whether the file has a column of that name."""
        return column in self._tried(lambda: pl.read_parquet_schema(self.path))

    def kind_of(self, column: str) -> pl.DataType:
        """The type of a column."""
        return self._tried(lambda: pl.read_parquet_schema(self.path))[column]

    def frames(self, block_bytes: int) -> Iterator[Lines]:
        """The file's rows in slices, as in ``TextFile.frames``. Times become the text of their unix seconds."""
        if (found := largest_row_group(self.path, self.columns)) > self.most:
            raise DataError(
                f"{self.path} has a row group of {found:,} bytes, and at most {self.most:,} may be read at once; write "
                "it in smaller ones (polars.scan_parquet(...).sink_parquet(..., row_group_size=1000000)), or give more "
                "memory (data.memory_gb)"
            )
        rows = max(1, block_bytes // _BYTES_OF_A_ROW)
        # Columns are called by numbers meanwhile, since polars takes names such as * for patterns.
        numbers = {str(number): name for number, name in enumerate(self.columns)}
        file = pl.scan_parquet(self.path, glob=False).select(
            column_of(name).alias(number) for number, name in numbers.items()
        )
        total = self._tried(file.select(pl.len()).collect).item()
        for start in range(0, total, rows):
            part = self._tried(file.slice(start, rows).collect)
            text = part.with_columns(
                as_text(part[number], self.between.get(name)).replace("", None) for number, name in numbers.items()
            )
            in_bytes = [number for number in numbers if part[number].dtype == pl.Binary]
            replaced = pl.any_horizontal(pl.lit(False), pl.col(in_bytes).str.contains(REPLACEMENT, literal=True))
            more = pl.when(replaced).then(pl.lit(NOT_UTF8)).otherwise(pl.lit(None, pl.String)).alias(MORE)
            yield Lines(text.with_columns(more).rename(numbers), min(1.0, (start + rows) / total), start + 1)

    def _tried(self, read: Callable[[], T]) -> T:
        try:
            return read()
        except (pl.exceptions.PolarsError, OSError) as error:
            reason = str(error).splitlines()[0]
            raise DataError(f"{self.path} cannot be read: {reason}; expected {self.expected}") from None


def _is_list(kind: pl.DataType | None) -> bool:
    """Whether a column holds lists of plain values."""
    return isinstance(kind, pl.List | pl.Array) and not isinstance(kind.inner, pl.List | pl.Array | pl.Struct)


def as_text(column: pl.Series, between: str | None = None) -> pl.Series:
    """A column as text. A time becomes its unix seconds. ``between`` is put between the values of lists."""
    if isinstance(column.dtype, pl.Array):
        column = column.arr.to_list()
    if isinstance(column.dtype, pl.List) and between is not None:
        return column.list.eval(pl.element().cast(pl.String).drop_nulls()).list.join(between)
    if column.dtype == pl.Date:
        column = column.cast(pl.Datetime)
    if isinstance(column.dtype, pl.Datetime):
        column = column.dt.epoch("s")
    if column.dtype.is_float():
        return _whole_as_such(column)
    if column.dtype == pl.Boolean:
        column = column.cast(pl.Int8)
    if column.dtype == pl.Binary:
        try:
            return column.cast(pl.String)
        except pl.exceptions.ComputeError:  # try again, slower, and replace what is not UTF-8
            words = [None if value is None else value.decode("utf-8", "replace") for value in column]
            return pl.Series(column.name, words, dtype=pl.String)
    return column.cast(pl.String, strict=False)


def _whole_as_such(column: pl.Series) -> pl.Series:
    """Decimals as text. Whole ones are written as whole numbers: a column becomes decimal if it has missing values.

    Whole numbers that are too large to be exact get an exponent; see ``cells.rounded``.
    """
    exact = 1 << (24 if column.dtype == pl.Float32 else 53)
    value = pl.col("value")
    whole = (value == value.floor()) & (value.abs() < 1 << 63)
    written = value.cast(pl.Int64, strict=False).cast(pl.String)
    return (
        pl.DataFrame({"value": column})
        .select(
            pl.when(value.is_nan())
            .then(None)
            .when(whole & (value.abs() < exact))
            .then(written)
            .when(whole)
            .then(written + "e+0")
            .otherwise(value.cast(pl.String))
        )
        .to_series()
        .rename(column.name)
    )
