"""A source from outside hands over data frames, and gets the store that every source gets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from mdaf.data.preparing.from_frames import write_frames
from mdaf.data.preparing.prepare import prepare
from mdaf.data.preparing.source import Contents
from mdaf.data.reading.file_hashes import FileHashes
from mdaf.data.store.device_store import DeviceStore
from mdaf.data.store.writer import StoreWriter
from mdaf.errors import DataError
from mdaf.terminal.progress import Progress

HOUR = 3600
START = 1_767_225_600  # 1 January 2026, 00:00 UTC


@dataclass(frozen=True)
class Made:
    """Twelve hours of one user, who sees two items an hour and clicks one; validation from 8:00, test from 10:00."""

    left_out: str = ""
    time: pl.DataType | type[pl.DataType] = pl.Int64

    name = "made"

    def fingerprint(self, hashes: FileHashes) -> dict[str, Any]:
        return {"left_out": self.left_out, "time": str(self.time)}

    def build(self, writer: StoreWriter, progress: Progress) -> Contents:
        rows = pl.DataFrame({"hour": range(24)}).select(
            user=pl.lit("u"),
            item=pl.col("hour") % 4,
            time=(START + pl.col("hour") // 2 * HOUR).cast(self.time),
            label=(pl.col("hour") + 1) % 2,
        )
        rows = rows.drop(self.left_out) if self.left_out else rows
        halves = [rows.filter(pl.col("time") >= START + 5 * HOUR), rows.filter(pl.col("time") < START + 5 * HOUR)]
        return write_frames(
            writer,
            progress,
            [(half.filter(pl.col("label") == 1), half) for half in halves],
            event_fields=("item",),
            sample_fields=("user", "item"),
            length=3,
            validation=START + 8 * HOUR,
            test=START + 10 * HOUR,
        )


def test_frames_in_any_order_become_samples_with_the_events_before_them(root: Path) -> None:
    store = prepare(Made(), root)
    assert {split: len(samples) for split, samples in store.samples.items()} == {
        "train": 16,
        "validation": 4,
        "test": 4,
    }
    assert [field.name for field in store.schema.static] == ["user", "item", "hour", "weekday"]
    gathered = DeviceStore(store, "cpu")
    assert gathered.lengths("train").tolist() == [min(hour // 2, 3) for hour in range(16)]
    assert gathered.labels("validation").tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (Made(left_out="item"), "events have no column item; found user, time, label"),
        (Made(time=pl.Float64), "events: time is Float64, expected unix seconds, integers"),
    ],
)
def test_a_column_that_is_missing_or_no_time_is_named(source: Made, said: str, root: Path) -> None:
    with pytest.raises(DataError, match=said):
        prepare(source, root)
