"""Reads the table of a log: files of events or samples whose columns the config names, as typed rows."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import polars as pl

from mdaf.data.reading.cells import flag, member_list, rounded, said, short_decimal, word
from mdaf.data.reading.defects import Defects
from mdaf.data.reading.file_hashes import size_of
from mdaf.data.reading.formats.by_ending import Spelling, TableFile, table_file
from mdaf.data.reading.formats.parquet import ParquetFile
from mdaf.data.reading.rows import RAW, Rows
from mdaf.data.reading.times import out_of_range, times_of

_SPLITS = {"train": 0, "training": 0, "val": 1, "validation": 1, "valid": 1, "dev": 1, "test": 2}


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
class CellKinds:
    """Which fields are no plain words.

    ``numbers``  fields that are numbers. A cell that is not one becomes missing, and is counted.
    ``lists``    fields with several values -> what separates these.
    """

    numbers: Collection[str] = ()
    lists: Mapping[str, str] = field(default_factory=dict)

    def types(self, fields: Collection[str]) -> dict[str, pl.Expr]:
        """Field -> the expression that converts its column of text."""
        numbers = {name: short_decimal(name) for name in fields if name in self.numbers}
        lists = {name: member_list(name, self.lists[name]) for name in fields if name in self.lists}
        return {name: word(name) for name in fields} | numbers | lists

    def numbers_of(self, fields: Collection[str]) -> list[str]:
        """Those of the fields that are numbers."""
        return [name for name in fields if name in self.numbers]


@dataclass(frozen=True)
class LogTable:
    """A table of events or samples, in one file or several.

    ``columns``        field -> the files' column. User, item, time, label and split have their own types; other fields
                       are words. Without a column for them, user and time are the number of the row.
    ``key``            the config's key that names the columns, for messages.
    ``positive_from``  the lowest label of a positive.
    ``block_bytes``    how much text is read at once.
    ``cells``          which fields are numbers and lists.
    """

    paths: Sequence[Path]
    columns: Mapping[str, str]
    key: str
    spelling: Spelling
    time_format: str
    utc_offset_hours: float
    positive_from: float
    block_bytes: int
    cells: CellKinds = CellKinds()

    def blocks(self) -> Iterator[Block]:
        """The table's rows, file after file. Raises DataError if a file has another format, or cannot be read."""
        files = [self.file(path) for path in self.paths]
        for file in files:
            file.check()
        sizes = [max(1, size_of(path)) for path in self.paths]
        before = 0
        for file, done, size in zip(files, accumulate(sizes, initial=0), sizes, strict=False):
            rows, last = self._rows(file), 0
            for lines in file.frames(self.block_bytes):
                share = (done + size * lines.share) / sum(sizes)
                yield Block(*rows.told_apart(lines, before), share)
                last = lines.first + len(lines.frame)
            before += last

    def file(self, path: Path) -> TableFile:
        """One of the files, with the table's columns."""
        names = tuple(dict.fromkeys(self.columns.values()))
        return table_file(path, names, f"the columns {', '.join(names)} ({self.key})", self.spelling)

    def _rows(self, file: TableFile) -> Rows:
        """How the lines of a file become rows."""
        return Rows(
            file,
            self.columns,
            self._types(file),
            needed=[name for name in ("user", "item", "time") if name in self.columns],
            kinds=self._kinds(),
            optional=self.cells.numbers_of(self.columns),
            numbered=[name for name in ("user", "time") if name not in self.columns],
        )

    def _types(self, file: TableFile) -> dict[str, pl.Expr]:
        typed = self.cells.types(self.columns)
        if "time" in self.columns:
            typed["time"] = self._time(file, self.columns["time"])
        if "split" in self.columns:
            split = word("split").str.to_lowercase()
            typed["split"] = split.replace_strict(_SPLITS, default=None, return_dtype=pl.Int8)
        if "label" in self.columns:
            typed["label"] = (flag("label") >= self.positive_from).cast(pl.UInt8)
        return typed

    def _kinds(self) -> dict[str, pl.Expr]:
        """Kinds of bad rows, and which rows are of each kind."""
        ids = [name for name in ("user", "item", "category") if name in self.columns]
        kinds = {f"no {name}": pl.col(name).is_null() for name in ("user", "item") if name in self.columns}
        kinds |= {f"{name} too large for a decimal": rounded(f"{RAW}{name}") for name in ids}
        if "time" in self.columns:
            kinds |= {"not a time": pl.col("time").is_null(), "time out of range": out_of_range("time")}
        if "split" in self.columns:
            kinds |= {"unknown split": pl.col("split").is_null()}
        if "label" in self.columns:
            kinds |= {"no label": ~said(f"{RAW}label"), "not a number": pl.col("label").is_null()}
        return kinds

    def _time(self, file: TableFile, column: str) -> pl.Expr:
        """Unix seconds of the column time; null if it is not a time."""
        kind = file.kind_of(column) if isinstance(file, ParquetFile) else None
        where = f"{file.path}: column {column!r}"
        return times_of("time", kind, self.time_format, self.utc_offset_hours, where)
