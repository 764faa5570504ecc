"""Taobao's UserBehavior.csv: user, item, category, behaviour, unix seconds; no header, no impressions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from data.defects import Defects, sifted
from data.errors import DataError
from data.layout import CLICK_TABLES, Periods, click_layout
from data.local_time import unix_seconds
from data.next_click import TASKS, Protocol, write_next_click
from data.pieces import block_bytes
from data.progress import Progress, between
from data.raw_log import OwnFields, RawLog
from data.source import Contents, content_of, refuse_below, refuse_others, required_file
from data.text import MORE, TextFile
from data.vocabulary import check_min_count
from data.writer import StoreWriter

COLUMNS = ("user", "item", "category", "behaviour", "time")
NUMBERS = ("user", "item", "category", "time")
BEHAVIOURS = ("pv", "cart", "fav", "buy")
_EXPECTED = "lines of user,item,category,behaviour,unix seconds, without a header"


@dataclass(frozen=True)
class UserBehavior:
    """The log and the protocol by which it becomes samples; see ``conf/data/user_behavior.yaml`` for each setting."""

    path: str | None
    task: str
    length: int
    negatives: int
    utc_offset_hours: float
    period_start: str
    period_end: str
    validation_start: str
    test_start: str
    min_count: Mapping[str, int]
    max_bad_fraction: float
    memory_gb: float
    seed: int

    name = "user_behavior"

    def __post_init__(self) -> None:
        refuse_below(self, length=1, negatives=1, max_bad_fraction=0, memory_gb=0, seed=0)
        refuse_others("task", self.task, TASKS)
        check_min_count(self.min_count, CLICK_TABLES)
        names = ("period_start", "validation_start", "test_start", "period_end")
        times = [unix_seconds(getattr(self, name), name, self.utc_offset_hours) for name in names]
        for earlier, later, before, after in zip(names, names[1:], times, times[1:], strict=False):
            if before >= after:
                raise DataError(
                    f"data.{later}={getattr(self, later)} must lie after data.{earlier}={getattr(self, earlier)}"
                )

    @cached_property
    def _file(self) -> Path:
        return required_file(self.path, "data.path", f"Taobao's UserBehavior.csv ({_EXPECTED})")

    def fingerprint(self) -> dict[str, Any]:
        """Settings that change the store, and the file's hash; where the file lies is not among them."""
        without = ("path", "max_bad_fraction", "memory_gb")
        settings = {key: value for key, value in asdict(self).items() if key not in without}
        return {"settings": settings, "inputs": [content_of(self._file)]}

    def build(self, writer: StoreWriter, progress: Progress) -> Contents:
        """Reads, cleans and samples the log; DataError if it is not such a file or too much of it is bad."""
        text = TextFile(self._file, COLUMNS, _EXPECTED)
        text.check()
        periods = Periods(self._unix("validation_start"), self._unix("test_start"), self.utc_offset_hours)
        with writer.workspace() as folder:
            log = RawLog(folder, click_layout(self.length), periods.validation, [OwnFields("item", ["category"])])
            defects = Defects()
            period = self._unix("period_start"), self._unix("period_end")
            for events, found, share in read_log(text, period, block_bytes(self.memory_gb)):
                between(progress, 0.0, 0.5)("reading", share)
                log.add_events(events)
                defects += found
            defects.refuse_if_too_many(str(self.path), self.max_bad_fraction)
            protocol = Protocol(
                task=self.task,
                periods=periods,
                negatives=self.negatives,
                view="pv",
                purchase="buy",
                min_count=self.min_count,
                seed=self.seed,
            )
            contents = write_next_click(
                writer, log, folder, protocol, self.memory_gb, defects, between(progress, 0.5, 1.0)
            )
        contents.defects.refuse_if_too_many(str(self.path), self.max_bad_fraction)
        return contents

    def _unix(self, key: str) -> int:
        return unix_seconds(getattr(self, key), key, self.utc_offset_hours)


def read_log(text: TextFile, period: tuple[int, int], size: int) -> Iterator[tuple[pl.DataFrame, Defects, float]]:
    """Block by block: the usable rows, columns ``COLUMNS``, in the file's order, what was wrong with the others, and
    the share of the file that is read.

    ``period``  unix seconds: the first that counts and the first that no longer does.
    """
    known = pl.col("behaviour").is_in(BEHAVIOURS)
    for lines, share in text.frames(size):
        typed = lines.select(
            *(pl.col(name).cast(pl.Int64, strict=False) for name in NUMBERS),
            pl.when(known).then(pl.col("behaviour")).cast(pl.Enum(BEHAVIOURS)).alias("behaviour"),
            kind=_defect(known),
        ).with_columns(
            kind=pl.when(pl.col("kind").is_null() & ~pl.col("time").is_between(*period, closed="left"))
            .then(pl.lit("time out of period"))
            .otherwise(pl.col("kind"))
        )
        events, defects = sifted(typed)
        yield events.select(COLUMNS), defects, share


def _defect(known_behaviour: pl.Expr) -> pl.Expr:
    """The first thing that is wrong with a line, or null."""
    number = pl.all_horizontal(pl.col(name).cast(pl.Int64, strict=False).is_not_null() for name in NUMBERS)
    return (
        pl.when(pl.col("item").is_null() & (pl.col("user").fill_null("").str.strip_chars() == ""))
        .then(pl.lit("blank line"))
        .when(pl.col(MORE).is_not_null())
        .then(pl.lit("too many fields"))
        .when(pl.any_horizontal(pl.col(name).is_null() for name in COLUMNS))
        .then(pl.lit("cut line"))
        .when(~number)
        .then(pl.lit("not a number"))
        .when(~known_behaviour)
        .then(pl.lit("unknown behaviour"))
    )
