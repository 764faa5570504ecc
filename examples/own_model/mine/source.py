"""The source ``sessions``: JSON lines, each a page that was shown, with its items and the one that was clicked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from mdaf.data.new_rows.row_format import Cell, Own, RowFormat, words
from mdaf.data.preparing.from_frames import write_frames
from mdaf.data.preparing.source import Contents, refuse_below, settings_of, split_times
from mdaf.data.reading.cells import number
from mdaf.data.reading.file_hashes import FileHashes
from mdaf.data.reading.log_files import required_file
from mdaf.data.store.writer import StoreWriter
from mdaf.errors import DataError
from mdaf.terminal.progress import Progress

VERSION = 1  # raise it when this file reads the same log in another way
LINE = {"visitor": pl.String, "at": pl.Int64, "shown": pl.List(pl.Struct({"sku": pl.String, "shelf": pl.String}))}
LINE["clicked"] = pl.String


@dataclass(frozen=True)
class Sessions:
    """The source and its settings, which ``conf/data/sessions.yaml`` describes."""

    path: str | None
    length: int
    utc_offset_hours: float
    validation_start: str
    test_start: str
    min_count: Mapping[str, int]
    memory_gb: float
    seed: int

    name = "sessions"

    def __post_init__(self) -> None:
        refuse_below(self, length=1, memory_gb=0)
        split_times(self, "validation_start", "test_start")

    @property
    def _file(self) -> Path:
        return required_file(self.path, "data.path", "a log of pages, a JSON object in each line")

    def fingerprint(self, hashes: FileHashes) -> dict[str, Any]:
        """What decides the content of the store: two equal fingerprints mean the same store."""
        return {"version": VERSION, "settings": settings_of(self), "inputs": hashes.of([self._file])}

    def build(self, writer: StoreWriter, progress: Progress) -> Contents:
        """Writes the store: a sample for each item that was shown, an event for each click."""
        rows = self._rows()
        clicks = rows.filter(pl.col("label") == 1)
        validation, test = split_times(self, "validation_start", "test_start")
        return write_frames(
            writer,
            progress,
            [(clicks, rows)],
            event_fields=("item", "category"),
            sample_fields=("user", "item", "category"),
            length=self.length,
            validation=validation,
            test=test,
            utc_offset_hours=self.utc_offset_hours,
            min_count=self.min_count,
            memory_gb=self.memory_gb,
        )

    def new_rows(self) -> RowFormat:
        """How rows look that a trained model is to score, for ``mdaf-predict``. A source may do without."""
        ids = {**words({"user": "visitor", "item": "sku", "category": "shelf"}), "time": Cell("at", number("time"))}
        own = {"category": Own("item", "latest")}
        return RowFormat(rows=ids, events=ids, own=own, event_own=own, utc_offset_hours=self.utc_offset_hours)

    def _rows(self) -> pl.DataFrame:
        """A row for each item that was shown: user, time in unix seconds, item, category, label."""
        try:
            pages = pl.read_ndjson(self._file, schema=LINE)
        except pl.exceptions.PolarsError as error:
            raise DataError(f"data.path={self.path}: {' '.join(str(error).split())}") from None
        return pages.explode("shown").select(
            user="visitor",
            time="at",
            item=pl.col("shown").struct.field("sku"),
            category=pl.col("shown").struct.field("shelf"),
            label=(pl.col("shown").struct.field("sku") == pl.col("clicked")).fill_null(False).cast(pl.UInt8),
        )
