"""The source ``taobao_ad_joined``: Ali Display Ad Click as one file. A row has an ad, a user's profile and a history.

The file has no times, so it cannot be split by time. All rows of a user go to the same split, by a hash of the user.
Each row has its own history, so no row affects another one. Events have an order, but no gap to the sample.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from mdaf.data.new_rows.row_format import Cell, RowFormat, words
from mdaf.data.preparing.impressions import write_impressions
from mdaf.data.preparing.layout import Layout, Periods
from mdaf.data.preparing.raw_log import RawLog
from mdaf.data.preparing.source import Contents, check_shares, refuse_below, refuse_others, settings_of
from mdaf.data.preparing.spill import block_bytes
from mdaf.data.preparing.splits.rules import ByTime
from mdaf.data.reading.cells import no_numbers, number, numbers
from mdaf.data.reading.defects import Defects
from mdaf.data.reading.file_hashes import FileHashes
from mdaf.data.reading.formats.delimited import Lines, TextFile
from mdaf.data.reading.log_files import required_file
from mdaf.data.reading.rows import RAW, Rows
from mdaf.data.store.promises import USERS
from mdaf.data.store.vocabulary import check_min_count
from mdaf.data.store.writer import StoreWriter
from mdaf.data.taobao_ad import (
    DOUBLINGS,
    PRICES,
    PROFILE,
    STATIC,
    described_cells,
    described_fields,
    price_cell,
    price_rules,
)
from mdaf.streams import draws, stream_seed
from mdaf.terminal.progress import Progress, between

COLUMNS = (
    "label", "bought", "position", "item", "category", "campaign", "customer", "brand", "user", *PROFILE,
    "categories", "brands", "price",
)  # fmt: skip
_EXPECTED = f"{len(COLUMNS)} columns without a header: clk, buy, pid, adgroup_id, cate_id, ..., price"
_NUMBERS = ("label", "item", "category", "campaign", "customer", "user")
_LISTS = ("categories", "brands")
_FAR = 1_000_000  # the distance of the splits on a made-up time axis; longer than any list of events


@dataclass(frozen=True)
class TaobaoAdJoined:
    """The source and its settings. ``conf/data/taobao_ad_joined.yaml`` describes each setting."""

    path: str | None
    length: int
    validation_share: float
    test_share: float
    min_count: Mapping[str, int]
    max_bad_fraction: float
    memory_gb: float
    seed: int
    price: str = DOUBLINGS

    name = "taobao_ad_joined"

    def __post_init__(self) -> None:
        refuse_below(self, length=1, max_bad_fraction=0, memory_gb=0, seed=0)
        refuse_others("price", self.price, PRICES)
        check_min_count(self.min_count, STATIC)
        check_shares(self.validation_share, self.test_share)

    @cached_property
    def _file(self) -> Path:
        return required_file(self.path, "data.path", f"the joined file ({_EXPECTED})")

    def fingerprint(self, hashes: FileHashes) -> dict[str, Any]:
        """The settings that change the store, and the file's hash."""
        return {"settings": settings_of(self), "inputs": hashes.of([self._file])}

    def build(self, writer: StoreWriter, progress: Progress) -> Contents:
        """Reads the file and writes its store. Raises DataError for another format and for too many bad rows."""
        text = TextFile(self._file, COLUMNS, _EXPECTED)
        text.check()
        periods = Periods(_FAR, 2 * _FAR, 0)
        cells = price_rules(self.price)
        layout = Layout(("category", "brand"), STATIC, self.length, gaps=False, owner="row", cells=cells)
        defects = Defects()
        with writer.workspace() as folder:
            log = RawLog(folder, layout, ByTime(periods))
            rows = _rows(text, self.price)
            for lines in text.frames(block_bytes(self.memory_gb)):
                between(progress, 0.0, 0.5)("reading", lines.share)
                samples, found = self._samples(rows, lines, defects.rows)
                log.add_samples(samples.drop(*_LISTS))
                log.add_events(_events(samples))
                defects += found
            defects.refuse_if_too_many(str(self.path), self.max_bad_fraction)
            contents = write_impressions(
                writer,
                log,
                folder,
                min_count=self.min_count,
                memory_gb=self.memory_gb,
                defects=defects,
                progress=between(progress, 0.5, 1.0),
            )
            return replace(contents, promise=USERS)  # its times are made up

    def new_rows(self) -> RowFormat:
        """Rows under a header, with the columns user, item, position, categories and brands: the lists of the history.

        The fields of ads and profiles are known of items and users; for new ones they may be columns.
        """
        lists = {name: Cell(name, numbers(name)) for name in _LISTS}
        ids = {name: Cell(name, number(name)) for name in ("user", "item")}
        return RowFormat(
            rows={**ids, **words({"position": "position"}), **described_cells(self.price), **lists},
            events={},
            own=described_fields(),
            event_own={},
            lists=dict(zip(("category", "brand"), _LISTS, strict=True)),
            between=dict.fromkeys(_LISTS, "|"),
        )

    def _samples(self, read: Rows, lines: Lines, before: int) -> tuple[pl.DataFrame, Defects]:
        """Usable rows with row number, split, a made-up time in that split and their lists; and the defects."""
        rows, defects = read.usable(lines)
        rows = rows.with_columns(row=before + pl.int_range(pl.len()))
        hashed = draws(stream_seed(self.seed, "split"), rows["user"].to_numpy().astype(np.uint64)) / np.float64(2**64)
        split = (hashed < self.validation_share + self.test_share).astype(np.int8) + (hashed < self.test_share)
        time = (split.astype(np.int64) + 1) * _FAR - 1
        labelled = rows.with_columns(pl.col("label").cast(pl.UInt8), split=pl.Series(split), time=pl.Series(time))
        return labelled, defects


def _rows(text: TextFile, price: str) -> Rows:
    """How the lines of the file become rows; ``price`` as in ``price_cell``."""
    optional = ("campaign", "customer", "brand", *PROFILE)
    typed = {name: number(name) for name in (*_NUMBERS, *optional)}
    lists = [pl.col(name).list.len().fill_null(0) for name in _LISTS]
    return Rows(
        text,
        columns={name: name for name in COLUMNS if name != "bought"},
        typed={**typed, "price": price_cell(price), **{name: numbers(name) for name in _LISTS}},
        needed=("label", "position", "item", "category", "user"),
        numbers=("label", "item", "user"),
        kinds={
            "label is neither 0 nor 1": ~pl.col("label").is_in([0, 1]),
            **{f"{name} that are no numbers": no_numbers(f"{RAW}{name}") for name in _LISTS},
            "lists of different lengths": lists[0] != lists[1],
        },
        optional=("category", *optional, "price"),
    )


def _events(samples: pl.DataFrame) -> pl.DataFrame:
    """The events in the rows' lists, oldest first, each one second before the next."""
    listed = samples.filter(pl.col("categories").list.len() > 0)
    return (
        listed.select("row", "time", *_LISTS, rank=pl.int_ranges(-pl.col("categories").list.len().cast(pl.Int64), 0))
        .explode(*_LISTS, "rank")
        .select("row", pl.col("time") + pl.col("rank"), category="categories", brand="brands")
    )
