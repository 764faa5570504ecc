"""Files that describe items and users, joined to a log."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mdaf.data.event_log import EventLogFile
from mdaf.data.preparing.own_log.settings import NO_TABLE
from mdaf.data.preparing.prepare import prepare
from mdaf.data.store.event_store import SPLITS, EventStore
from mdaf.errors import DataError
from tests.data.test_event_log import COLUMNS, ROWS, event_log, static

FILMS = pl.DataFrame({"id": f"i{n}", "maker": f"m{n % 3}", "kind": f"k{n % 2}"} for n in range(17))
MAKER, KIND = (dict(FILMS.select("id", name).iter_rows()) for name in ("maker", "kind"))
LOG = ROWS.drop("maker", "kind")


def source(folder: Path, films: pl.DataFrame = FILMS, **settings: object) -> EventLogFile:
    """A log whose films' makers stand in a file of their own."""
    LOG.write_csv(folder / "log.csv")
    films.write_csv(folder / "films.csv")
    columns = {**COLUMNS, "label": "clicked"}
    table = {**NO_TABLE, "path": str(folder / "films.csv"), "key": "id"}
    return event_log(
        folder / "log.csv", **{"columns": columns, "item_fields": ["maker"], "item_table": table, **settings}
    )


def test_a_table_of_items_says_what_a_column_of_the_log_would(tmp_path: Path, root: Path) -> None:
    other = source(tmp_path, columns={**COLUMNS, "label": "clicked", "category": "kind"})
    beside = prepare(other, root)
    ROWS.with_columns(maker=pl.col("what").replace_strict(MAKER), kind=pl.col("what").replace_strict(KIND)).write_csv(
        tmp_path / "both.csv"
    )
    within = prepare(event_log(tmp_path / "both.csv", columns=other.columns, item_fields=["maker"]), root)
    for name in within.manifest["files"]:
        assert (beside.folder / name).read_bytes() == (within.folder / name).read_bytes(), name
    assert beside.data_hash != within.data_hash


def test_ids_of_both_files_are_matched_and_the_first_of_several_rows_counts(tmp_path: Path, root: Path) -> None:
    log = LOG.with_columns(what=pl.col("what").str.slice(1).cast(pl.Int64) + 1000)
    films = FILMS.with_columns(id=pl.col("id").str.slice(1).cast(pl.Float64) + 1000)
    again = pl.concat([films[:15], films[:4].with_columns(maker=pl.lit("other"))])
    made = source(tmp_path, again)
    log.write_csv(tmp_path / "log.csv")
    store = prepare(made, root)
    found = dict(row[:2] for row in static(store, "item", "maker"))
    assert found == {str(1000 + n): f"m{n % 3}" if n < 15 else None for n in map(int, log["what"].unique() - 1000)}
    absent = log.filter(pl.col("what") >= 1015).height
    repeated = log.filter(pl.col("what") < 1004)["what"].n_unique()
    assert min(absent, repeated) > 0
    assert store.defects.incomplete == {
        "row of films.csv whose item an earlier row has": repeated,
        "row whose item is not in data.item_table": absent,
    }
    assert store.defects.bad == 0


def test_what_a_table_says_of_candidates_is_known_before_their_first_event(tmp_path: Path, root: Path) -> None:
    late = {**COLUMNS}
    store = prepare(source(tmp_path, columns=late, negatives=3), root)
    drawn = [row for row in static(store, "item", "maker") if not row[-1]]
    assert len(drawn) > 100
    assert all(maker == MAKER[item] for item, maker, *_ in drawn)
    given = LOG.select(user="who", item="what", time="when", label="clicked", split=pl.lit("train")).with_columns(
        split=pl.when(pl.int_range(240) < 160)
        .then(pl.lit("train"))
        .otherwise(pl.when(pl.int_range(240) < 200).then(pl.lit("val")).otherwise(pl.lit("test")))
    )
    given.write_csv(tmp_path / "samples.csv")
    store = prepare(source(tmp_path, columns=late, samples_path=str(tmp_path / "samples.csv")), root)
    assert all(maker == MAKER[item] for item, maker, *_ in static(store, "item", "maker"))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"item_table": {"key": "maker"}}, "films.csv describes no item of the log: its column 'maker' has such as 'm0'"
                                           ", and the log has items such as 'i0'"),
        ({"item_table": {"key": "film"}}, "films.csv has no column 'film'"),
        ({"item_table": {"separator": ";"}}, "films.csv has no column .*; it is comma-separated"),
        ({"item_fields": []}, r"has none of the columns in data.item_fields \(none\)"),
        ({"item_fields": ["maker", "price"]}, r"log.csv has no column .price.*; films.csv has no price\)"),
        ({"item_table": {"path": "absent.csv"}}, "data.item_table.path=absent.csv does not exist"),
        ({"item_table": {"file": "films.csv"}}, "data.item_table.file: no such key"),
        ({"item_table": {"beside": "../films.csv"}}, "data.item_table.beside=../films.csv: expected the name"),
        ({"columns": {**COLUMNS, "label": "clicked", "item": None}}, "data.columns.item=null: without items"),
    ],
)  # fmt: skip
def test_a_table_that_does_not_fit_is_one_line(tmp_path: Path, root: Path, settings: dict, said: str) -> None:
    given = source(tmp_path).item_table
    if "item_table" in settings:
        settings = {**settings, "item_table": {**given, **settings["item_table"]}}
    with pytest.raises(DataError, match=said) as caught:
        prepare(source(tmp_path, **settings), root)
    assert "\n" not in str(caught.value)


def static_fields(store: EventStore, *names: str) -> list[tuple]:
    """Some fields of every sample, split by split."""
    return [row[: len(names)] for row in static(store, *names)]


@pytest.mark.parametrize("time", ["when", None])
def test_in_a_log_without_users_each_row_stands_alone(tmp_path: Path, root: Path, time: str | None) -> None:
    columns = {"user": None, "item": "what", "time": time, "label": "clicked"}
    ROWS.write_csv(tmp_path / "log.csv")
    counts = {"user": 2, "item": 5}
    store = prepare(event_log(tmp_path / "log.csv", columns=columns, context_fields=["did"], min_count=counts), root)
    assert not len(store.time)
    found = static_fields(store, "item", "did")
    assert found == list(ROWS.select("what", "did").iter_rows())
    users = np.concatenate([np.asarray(store.samples[split].user) for split in SPLITS])
    assert len(np.unique(users)) == len(ROWS)
    assert len(store.samples["train"]) == pytest.approx(192, abs=2)
    moments = {"hour", "weekday"} & {field.name for field in store.schema.static}
    assert bool(moments) is (time is not None)


def test_without_times_rows_are_in_the_order_of_their_files(tmp_path: Path, root: Path) -> None:
    for number in range(2):
        ROWS[number * 120 : number * 120 + 120].drop("when").write_csv(tmp_path / f"{number}.csv")
    columns = {**COLUMNS, "label": "clicked", "time": None}
    store = prepare(event_log(tmp_path / "?.csv", columns=columns, history="all"), root)
    timed = prepare(event_log(_with_times(tmp_path), columns={**columns, "time": "when"}, history="all"), root)
    assert [len(store.samples[split]) for split in SPLITS] == [192, 24, 24]
    for name in ("events.item", "user_offsets"):
        assert (store.folder / f"{name}.npy").read_bytes() == (timed.folder / f"{name}.npy").read_bytes()
    assert "gap" not in store.schema.tables


def _with_times(folder: Path) -> Path:
    ROWS.write_csv(folder / "timed")
    return folder / "timed"


@pytest.mark.parametrize(
    ("columns", "settings", "said"),
    [
        ({"user": None}, {}, "data.columns.user=null: a log without it needs a label"),
        ({"user": None, "label": "clicked"}, {"held_out_users": 0.1}, "data.columns.user=null: without users"),
        ({"item": None, "label": "clicked"}, {}, "data.columns.item=null: expected other fields"),
        ({"time": None}, {"validation_start": "2020-01-02", "test_start": "2020-01-03"}, "data.columns.time=null"),
        ({"time": None}, {"samples_path": "x.csv"}, "data.columns.time=null: a file of samples"),
    ],
)
def test_what_a_log_without_a_column_cannot_do_is_one_line(columns: dict, settings: dict, said: str) -> None:
    with pytest.raises(DataError, match=said):
        event_log("log.csv", columns={**COLUMNS, **columns}, **settings)
