"""Reads the table of a log: a file of events or samples whose columns the config names, as typed rows."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import polars as pl

from mdaf.data.reading.cells import flag, member_list, rounded, said, short_decimal, word
from mdaf.data.reading.defects import Defects
from mdaf.data.reading.formats.delimited import TextFile, spelled_out
from mdaf.data.reading.formats.parquet import ParquetFile
from mdaf.data.reading.rows import RAW, Rows
from mdaf.data.reading.times import out_of_range, unix_times
from mdaf.errors import DataError

_SPLITS = {"train": 0, "training": 0, "val": 1, "validation": 1, "valid": 1, "dev": 1, "test": 2}
_HOUR = 3600


class Block(NamedTuple):
    """A block of a table.

    ``rows``     the usable rows.
    ``defects``  the numbers of bad rows.
    ``bad``      the bad rows, with the column ``rows.KIND``.
    ``share``    the share of the table that is read, up to the end of this block.
    """

    rows: pl.DataFrame
    defects: Defects
    bad: pl.DataFrame
    share: float


@dataclass(frozen=True)
class LogTable:
    """A table of events or samples.

    ``columns``            field -> the file's column. User, item, time, label and split have their own types; other
                           fields are words.
    ``key``                the config's key that names the columns, for messages.
    ``positive_from``      the lowest label of a positive.
    ``block_bytes``        how much text is read at once.
    ``row_group_bytes``    how large a row group of a Parquet file may be.
    ``numbers``            fields that are numbers. A cell that is not one becomes missing, and is counted.
    ``lists``              fields with several values -> what separates these.
    """

    path: Path
    columns: Mapping[str, str]
    key: str
    separator: str
    time_format: str
    utc_offset_hours: float
    positive_from: float
    block_bytes: int
    row_group_bytes: int
    numbers: Collection[str] = ()
    lists: Mapping[str, str] = field(default_factory=dict)

    def blocks(self) -> Iterator[Block]:
        """The table's rows. Raises DataError if the file has another format, or cannot be read."""
        file = self._file()
        file.check()
        rows = Rows(
            file,
            self.columns,
            self._types(file),
            needed=("user", "item", "time"),
            kinds=self._kinds(),
            optional=[name for name in self.columns if name in self.numbers],
        )
        for lines in file.frames(self.block_bytes):
            yield Block(*rows.told_apart(lines), lines.share)

    def _types(self, file: TextFile | ParquetFile) -> dict[str, pl.Expr]:
        typed = {name: word(name) for name in self.columns} | {"time": self._time(file, self.columns["time"])}
        for name in typed.keys() & set(self.numbers):
            typed[name] = short_decimal(name)
        for name in typed.keys() & set(self.lists):
            typed[name] = member_list(name, self.lists[name])
        if "split" in self.columns:
            split = word("split").str.to_lowercase()
            typed["split"] = split.replace_strict(_SPLITS, default=None, return_dtype=pl.Int8)
        if "label" in self.columns:
            typed["label"] = (flag("label") >= self.positive_from).cast(pl.UInt8)
        return typed

    def _kinds(self) -> dict[str, pl.Expr]:
        """Kinds of bad rows, and which rows are of each kind."""
        ids = [name for name in ("user", "item", "category") if name in self.columns]
        kinds = {f"no {name}": pl.col(name).is_null() for name in ("user", "item")}
        kinds |= {f"{name} too large for a decimal": rounded(f"{RAW}{name}") for name in ids}
        kinds |= {"not a time": pl.col("time").is_null(), "time out of range": out_of_range("time")}
        if "split" in self.columns:
            kinds |= {"unknown split": pl.col("split").is_null()}
        if "label" in self.columns:
            kinds |= {"no label": ~said(f"{RAW}label"), "not a number": pl.col("label").is_null()}
        return kinds

    def _time(self, file: TextFile | ParquetFile, column: str) -> pl.Expr:
        """Unix seconds of the column time; null if it is not a time."""
        kind = file.kind_of(column) if isinstance(file, ParquetFile) else pl.String()
        if isinstance(kind, pl.Float32):
            raise DataError(
                f"{file.path}: column {column!r} holds {kind}, which rounds times to minutes; write it as whole numbers"
            )
        if not kind.is_temporal():
            return unix_times("time", self.time_format, self.utc_offset_hours)
        local = getattr(kind, "time_zone", None) is None  # with a time zone, the time is in UTC
        ahead = int(self.utc_offset_hours * _HOUR) if local else 0
        return unix_times("time", "seconds", 0) - ahead

    def _file(self) -> TextFile | ParquetFile:
        """The file, told by its ending: read as text unless that is Parquet's."""
        names = tuple(dict.fromkeys(self.columns.values()))
        expected = f"the columns {', '.join(names)} ({self.key})"
        if self.path.suffix.lower() in (".parquet", ".pq"):
            return ParquetFile(self.path, names, expected, most=self.row_group_bytes)
        separator = spelled_out(self.separator)
        return TextFile(self.path, names, f"{expected}, named in the first line", separator, header=True, quotes=True)
