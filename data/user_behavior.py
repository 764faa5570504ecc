"""The source ``user_behavior``: Taobao's UserBehavior.csv with user, item, category, behaviour and unix seconds.

The file has no header and no impressions. Samples are made by ``mdaf.data.preparing.next_click``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from mdaf.data.new_rows.row_format import Own, RowFormat, numbers, words
from mdaf.data.preparing.layout import CLICK_TABLES, Periods, click_layout
from mdaf.data.preparing.negatives import check_negatives
from mdaf.data.preparing.next_click import PROTOCOL, TASKS, Protocol, write_next_click
from mdaf.data.preparing.raw_log import OwnFields, RawLog
from mdaf.data.preparing.source import (
    Contents,
    check_held_out,
    refuse_below,
    refuse_others,
    settings_of,
    split_times,
)
from mdaf.data.preparing.spill import block_bytes
from mdaf.data.preparing.splits.dated import DatedSource
from mdaf.data.reading.cells import number
from mdaf.data.reading.defects import Defects
from mdaf.data.reading.file_hashes import FileHashes
from mdaf.data.reading.formats.delimited import TextFile
from mdaf.data.reading.log_files import required_file
from mdaf.data.reading.rows import Rows
from mdaf.data.store.vocabulary import check_min_count
from mdaf.data.store.writer import StoreWriter
from mdaf.terminal.progress import Progress, between

COLUMNS = ("user", "item", "category", "behaviour", "time")
NUMBERS = ("user", "item", "category", "time")
BEHAVIOURS = ("pv", "cart", "fav", "buy")
_TIMES = ("period_start", "validation_start", "test_start", "period_end")
_EXPECTED = "lines of user,item,category,behaviour,unix seconds, without a header"


@dataclass(frozen=True)
class UserBehavior:
    """The source and its settings. ``conf/data/user_behavior.yaml`` describes each setting."""

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
    held_out_users: float = 0.0
    splits: str | None = None
    validation_share: float | None = None
    test_share: float | None = None
    negatives_from: str = "day"

    name = "user_behavior"

    def __post_init__(self) -> None:
        refuse_below(self, length=1, negatives=1, max_bad_fraction=0, memory_gb=0, seed=0)
        refuse_others("task", self.task, TASKS)
        check_held_out(self.held_out_users)
        check_min_count(self.min_count, CLICK_TABLES)
        split_times(self, *_TIMES)
        check_negatives(self.negatives_from, self.negatives, self.task == "next_click")
        _ = self._splits

    @cached_property
    def _splits(self) -> DatedSource:
        return DatedSource(self.splits, self.validation_share, self.test_share, self.held_out_users)

    @cached_property
    def _file(self) -> Path:
        return required_file(self.path, "data.path", f"Taobao's UserBehavior.csv ({_EXPECTED})")

    def fingerprint(self, hashes: FileHashes) -> dict[str, Any]:
        """The settings that change the store, and the file's hash. The path of the file is not among them."""
        drawn = {"protocol": PROTOCOL} if self.task == "next_click" else {}
        return {"settings": settings_of(self), "inputs": hashes.of([self._file]), **drawn}

    def build(self, writer: StoreWriter, progress: Progress) -> Contents:
        """Reads the log and writes its store. Raises DataError for another format and for too many bad rows."""
        text = TextFile(self._file, COLUMNS, _EXPECTED)
        text.check()
        start, validation, test, stop = split_times(self, *_TIMES)
        with writer.workspace() as folder:
            found: list[Defects] = []
            read = self._events(text, (start, stop), found, between(progress, 0.0, 0.5))
            periods = Periods(validation, test, self.utc_offset_hours)
            splits, events = self._splits.of(read, folder, periods, "pv", ("item", "behaviour"))
            log = RawLog(folder, click_layout(self.length), splits, [OwnFields("item", ["category"])])
            for frame in events:
                log.add_events(frame)
            defects = sum(found, Defects())
            defects.refuse_if_too_many(str(self.path), self.max_bad_fraction)
            protocol = Protocol(
                task=self.task,
                negatives=self.negatives,
                negatives_from=self.negatives_from,
                view="pv",
                purchase="buy",
                min_count=self.min_count,
                seed=self.seed,
            )
            return write_next_click(writer, log, folder, protocol, self.memory_gb, defects, between(progress, 0.5, 1.0))

    def new_rows(self) -> RowFormat:
        """Rows with the columns user, item, time (unix seconds) and category; events with behaviour too."""
        own = {"category": Own("item", "day" if self.task == "next_click" else "at")}
        ids = numbers("user", "item", "time", "category", optional=own)
        return RowFormat(
            rows=ids,
            events={**ids, **words({"behaviour": "behaviour"})},
            own=own,
            event_own={"category": Own("item", "at")},
            utc_offset_hours=self.utc_offset_hours,
            unique=True,
            headers=[COLUMNS],
        )

    def _events(
        self, text: TextFile, period: tuple[int, int], found: list[Defects], progress: Progress
    ) -> Iterator[pl.DataFrame]:
        """The usable rows in blocks, whose defects are added to ``found``."""
        for rows, defects, share in read_log(text, period, block_bytes(self.memory_gb)):
            progress("reading", share)
            found.append(defects)
            yield rows


def read_log(text: TextFile, period: tuple[int, int], size: int) -> Iterator[tuple[pl.DataFrame, Defects, float]]:
    """The usable rows in blocks, in the file's order, each with its defects and the share of the file that is read.

    ``period``  unix seconds: rows from the first to before the second are usable.
    ``size``    the bytes of a block.
    """
    known = pl.when(pl.col("behaviour").is_in(BEHAVIOURS)).then(pl.col("behaviour"))
    outside = ~pl.col("time").is_between(*period, closed="left")
    rows = Rows(
        text,
        columns={name: name for name in COLUMNS},
        typed={**{name: number(name) for name in NUMBERS}, "behaviour": known.cast(pl.Enum(BEHAVIOURS))},
        needed=COLUMNS,
        numbers=NUMBERS,
        kinds={"unknown behaviour": pl.col("behaviour").is_null(), "time out of period": outside},
    )
    for lines in text.frames(size):
        events, defects = rows.usable(lines)
        yield events, defects, lines.share
