"""Ali Display Ad Click, already joined: each impression with its ad, its user's profile and a history of its own.

The file has no times, so nothing of it can be split by time: all rows of a user go to one split, by a hash, and no row
informs another one of its user. A history's events carry their order, but no gap to the sample.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from mdaf.data.preparing.impressions import write_impressions
from mdaf.data.preparing.layout import Layout, Periods
from mdaf.data.preparing.raw_log import RawLog
from mdaf.data.preparing.source import Contents, refuse_below, required_file, settings_of
from mdaf.data.preparing.spill import block_bytes
from mdaf.data.reading.defects import Defects, sifted
from mdaf.data.reading.delimited import TextFile, decimal, line_defect, number
from mdaf.data.reading.file_hashes import FileHashes
from mdaf.data.store.vocabulary import check_min_count
from mdaf.data.store.writer import StoreWriter
from mdaf.data.taobao_ad import PROFILE, STATIC, price_bucket
from mdaf.errors import DataError
from mdaf.streams import draws, stream_seed
from mdaf.terminal.progress import Progress, between

COLUMNS = (
    "label", "bought", "position", "item", "category", "campaign", "customer", "brand", "user", *PROFILE,
    "categories", "brands", "price",
)  # fmt: skip
_EXPECTED = f"{len(COLUMNS)} columns without a header: clk, buy, pid, adgroup_id, cate_id, ..., price"
_NUMBERS = ("label", "item", "category", "campaign", "customer", "user")
_LISTS = ("categories", "brands")
_FAR = 1_000_000  # events: longer than any list; the splits lie this far apart


@dataclass(frozen=True)
class TaobaoAdJoined:
    """The file and how it is split; see ``conf/data/taobao_ad_joined.yaml`` for each setting."""

    path: str | None
    length: int
    validation_share: float
    test_share: float
    min_count: Mapping[str, int]
    max_bad_fraction: float
    memory_gb: float
    seed: int

    name = "taobao_ad_joined"

    def __post_init__(self) -> None:
        refuse_below(self, length=1, max_bad_fraction=0, memory_gb=0, seed=0)
        check_min_count(self.min_count, STATIC)
        shares = self.validation_share, self.test_share
        if min(shares) <= 0 or sum(shares) >= 1:
            raise DataError(
                f"data.validation_share={shares[0]} and data.test_share={shares[1]}: expected more than 0 each, and "
                "less than 1 together"
            )

    @cached_property
    def _file(self) -> Path:
        return required_file(self.path, "data.path", f"the joined file ({_EXPECTED})")

    def fingerprint(self, hashes: FileHashes) -> dict[str, Any]:
        """Settings that change the store, and the file's hash."""
        return {"settings": settings_of(self), "inputs": hashes.of([self._file])}

    def build(self, writer: StoreWriter, progress: Progress) -> Contents:
        """Reads the file and writes its store; DataError if it is not such a file or too much of it is bad."""
        text = TextFile(self._file, COLUMNS, _EXPECTED)
        text.check()
        periods = Periods(_FAR, 2 * _FAR, 0)
        layout = Layout(("category", "brand"), STATIC, self.length, gaps=False, owner="row")
        defects = Defects()
        with writer.workspace() as folder:
            log = RawLog(folder, layout, periods)
            for lines, share in text.frames(block_bytes(self.memory_gb)):
                between(progress, 0.0, 0.5)("reading", share)
                samples, found = self._samples(lines, defects.rows)
                log.add_samples(samples.drop(*_LISTS))
                log.add_events(_events(samples))
                defects += found
            defects.refuse_if_too_many(str(self.path), self.max_bad_fraction)
            return write_impressions(
                writer,
                log,
                folder,
                periods=periods,
                min_count=self.min_count,
                memory_gb=self.memory_gb,
                defects=defects,
                progress=between(progress, 0.5, 1.0),
            )

    def _samples(self, lines: pl.DataFrame, before: int) -> tuple[pl.DataFrame, Defects]:
        """Usable rows with row number, split, a time that stands for it, and their lists."""
        numbers = [number(name) for name in _NUMBERS]
        kind = line_defect(("label", "position", "item", "category", "user"), numbers[:2])
        lists = [pl.col(name).str.split("|").list.eval(pl.element().cast(pl.Int64, strict=False)) for name in _LISTS]
        even = pl.col("categories").list.len().fill_null(0) == pl.col("brands").list.len().fill_null(0)
        typed = lines.select(
            *numbers,
            "position",
            *(number(name) for name in ("brand", *PROFILE)),
            price_bucket(decimal("price")),
            *lists,
            kind=kind,
            row=before + pl.int_range(pl.len()),
        )
        known = pl.col("label").is_in([0, 1]) & pl.col("user").is_not_null()
        typed = typed.with_columns(
            kind=pl.when(pl.col("kind").is_not_null())
            .then(pl.col("kind"))
            .when(~known)
            .then(pl.lit("not a number"))
            .when(~even)
            .then(pl.lit("lists of different lengths"))
        )
        rows, defects = sifted(typed)
        hashed = draws(stream_seed(self.seed, "split"), rows["user"].to_numpy().astype(np.uint64)) / np.float64(2**64)
        split = (hashed < self.validation_share + self.test_share).astype(np.int8) + (hashed < self.test_share)
        time = (split.astype(np.int64) + 1) * _FAR - 1
        labelled = rows.with_columns(pl.col("label").cast(pl.UInt8), split=pl.Series(split), time=pl.Series(time))
        return labelled, defects


def _events(samples: pl.DataFrame) -> pl.DataFrame:
    """The events of the rows' lists, oldest first, each a moment before the next."""
    listed = samples.filter(pl.col("categories").list.len() > 0)
    return (
        listed.select("row", "time", *_LISTS, place=pl.int_ranges(-pl.col("categories").list.len().cast(pl.Int64), 0))
        .explode(*_LISTS, "place")
        .select("row", pl.col("time") + pl.col("place"), category="categories", brand="brands")
    )
