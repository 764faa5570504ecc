"""A log and a file of samples that mean the same ids, however each of them writes them."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from mdaf.data.event_log import EventLogFile
from mdaf.data.preparing.prepare import prepare
from mdaf.data.store.event_store import SPLITS
from mdaf.errors import DataError
from tests.data.logs import DAY
from tests.data.test_event_log import START, event_log

LOG = pl.DataFrame(
    {"user": n % 7 + 100, "item": n % 11 + 10**9, "category": n % 3, "time": START + n * 7200} for n in range(200)
)
SAMPLES = pl.DataFrame(
    {
        "user": n % 7 + 100,
        "item": n % 9 + 10**9,
        "category": n % 2,
        "time": START + n * DAY // 8,
        "label": n // 3 % 2,
        "split": "train" if n < 80 else "val" if n < 100 else "test",
    }
    for n in range(120)
)
IDS = ["user", "item", "category"]
COLUMNS = {"user": "user", "item": "item", "category": "category", "time": "time"}


def source(
    folder: Path, log: pl.DataFrame, samples: pl.DataFrame, kinds: str = "csv csv", **more: object
) -> EventLogFile:
    paths = []
    for name, frame, kind in zip(("log", "samples"), (log, samples), kinds.split(), strict=True):
        paths.append(folder / f"{name}.{kind}")
        frame.write_parquet(paths[-1]) if kind == "parquet" else frame.write_csv(paths[-1])
    return event_log(paths[0], samples_path=str(paths[1]), columns=COLUMNS, **more)


def histories(source: EventLogFile, root: Path) -> list[list[int]]:
    store = prepare(source, root)
    return [store.history_lengths(split).tolist() for split in SPLITS]


def test_a_log_of_decimals_gives_the_histories_that_one_of_whole_numbers_gives(tmp_path: Path) -> None:
    expected = histories(source(tmp_path, LOG, SAMPLES), tmp_path / "stores")
    assert sum(sum(lengths) for lengths in expected) > 500
    log = LOG.with_columns(pl.col(IDS).cast(pl.Float64))
    assert histories(source(tmp_path, log, SAMPLES, "parquet csv"), tmp_path / "stores") == expected


@pytest.mark.parametrize(
    ("spelling", "said"),
    [
        (
            pl.col("user").cast(pl.String).str.zfill(7),
            "writes 7 users otherwise than data.path: '0000100' is '100' there",
        ),
        (
            pl.format("u{}", pl.col("user")).alias("user"),
            "none of its 7 users is in .* 'u100', while .* '100'",
        ),
        (pl.col("item") - 10**8, r"none of its 9 items is in data.path.* '900000000', while .* '1000000000'"),
        (pl.col("time") // 1000, r"before its first event.*reach from 1970-01-19 .*such as 1577836.*from 2020-01-01"),
        (pl.col("time") * 2, r"long after its last event.*reach from 2069-12-31 .*the log from 2020-01-01"),
        (
            (pl.col("user") + 2**60).cast(pl.Float64),
            r"user too large for a decimal .*samples.csv, line 2, column 'user': '1.1529",
        ),
        (
            (pl.col("item") - 1).cast(pl.Float32),
            r"item too large for a decimal .*samples.parquet, row 1, column 'item'",
        ),
    ],
)
def test_ids_that_cannot_be_the_same_are_refused(tmp_path: Path, spelling: pl.Expr, said: str) -> None:
    kinds = "csv parquet" if "parquet" in said else "csv csv"
    with pytest.raises(DataError, match=said):
        prepare(source(tmp_path, LOG, SAMPLES.with_columns(spelling), kinds), tmp_path / "stores")


def test_each_file_is_held_to_the_bound_of_bad_rows(tmp_path: Path) -> None:
    many = pl.concat([LOG.with_columns(time=pl.col("time") + second) for second in range(3)])
    odd = SAMPLES.with_columns(label=pl.when(pl.int_range(pl.len()) % 10 == 3).then(pl.lit("oops")).otherwise("label"))
    with pytest.raises(DataError, match=r"samples.csv: 10.0% .*12 not a number .*line 5, column 'label': 'oops'"):
        prepare(source(tmp_path, many, odd), tmp_path / "stores")
    two = pl.concat([LOG, LOG.head(60).with_columns(time=pl.col("time") + 1, maker=pl.lit("b"))], how="diagonal")
    with pytest.raises(DataError, match=r"log.csv: .* rows are bad.*corrected: \d+ item in two makers"):
        prepare(
            source(tmp_path, two.with_columns(pl.col("maker").fill_null("a")), SAMPLES, item_fields=["maker"]),
            tmp_path / "stores",
        )


def test_a_split_that_lacks_labels_is_refused_though_few_rows_of_the_file_do(tmp_path: Path) -> None:
    none = pl.when(pl.int_range(pl.len()) < 118).then("label").alias("label")
    with pytest.raises(DataError, match=r"10.0% of the rows of split test have no label.*line 120, .* empty"):
        prepare(source(tmp_path, LOG, SAMPLES.with_columns(none)), tmp_path / "stores")


def test_moments_of_a_parquet_file_are_local_times_unless_they_name_a_zone(tmp_path: Path) -> None:
    moment = pl.from_epoch("time", time_unit="s").cast(pl.Datetime("ms"))
    log = LOG.with_columns(time=moment + pl.duration(hours=8))
    samples = SAMPLES.with_columns(time=moment.dt.replace_time_zone("UTC"))
    times = {"time_format": "milliseconds", "utc_offset_hours": 8}
    store = prepare(source(tmp_path, log, samples, "parquet parquet", **times), tmp_path / "stores")
    assert sorted(store.time.tolist()) == LOG["time"].to_list()
    assert sorted(store.samples["test"].time.tolist()) == SAMPLES.filter(pl.col("split") == "test")["time"].to_list()


@pytest.mark.parametrize(("split", "label"), [("train", 1), ("val", 0), ("test", 1)])
def test_a_split_whose_samples_are_all_alike_is_refused_by_its_name(tmp_path: Path, split: str, label: int) -> None:
    alike = pl.when(pl.col("split") == split).then(label).otherwise("label").alias("label")
    name = "validation" if split == "val" else split
    with pytest.raises(DataError, match=rf"(none|every one) of the \d+ samples of split {name} is a positive"):
        prepare(source(tmp_path, LOG, SAMPLES.with_columns(alike)), tmp_path / "stores")
    assert not list((tmp_path / "stores").glob("event_log*"))
