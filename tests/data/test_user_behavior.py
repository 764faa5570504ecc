from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mdaf.data.inspecting.facts import inspect
from mdaf.data.preparing.next_click import TASKS
from mdaf.data.preparing.prepare import prepare
from mdaf.data.reading.defects import Defects
from mdaf.data.reading.formats.delimited import TextFile
from mdaf.data.schema import FIRST_ID
from mdaf.data.store.event_store import EventStore
from mdaf.data.user_behavior import BEHAVIOURS, COLUMNS, read_log
from mdaf.errors import DataError
from tests.data.logs import ANCHOR, END, OTHER, START, Row, needs_real_log, user_behavior, write_rows

GOOD: list[Row] = [(1, 10, 5, "pv", START), (1, 11, 5, "buy", START + 9)]


def read(path: Path, rows: list[Row | str], size: int = 1 << 20) -> tuple[pl.DataFrame, Defects]:
    return read_file(write_rows(path / "log.csv", rows), size)


def read_file(path: Path, size: int = 1 << 20) -> tuple[pl.DataFrame, Defects]:
    parts = list(read_log(TextFile(path, COLUMNS, "a log"), (START, END), size))
    return pl.concat(events for events, *_ in parts), sum((defects for _, defects, _ in parts), Defects())


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("1,2,3,pv", "cut line"),
        ("1,2,3,pv,", "cut line"),
        ("1", "cut line"),
        ("1,2,3,pv,1511544070,9", "too many fields"),
        ("", "blank line"),
        ("   ", "blank line"),
        ("user,item,category,behaviour,time", "not a number"),
        ("1,x,3,pv,1511544070", "not a number"),
        ("1,2,3,pv,1e9", "not a number"),
        ("1,2,3,view,1511544070", "unknown behaviour"),
        (f"1,2,3,pv,{START - 1}", "time out of period"),
        (f"1,2,3,pv,{END}", "time out of period"),
        ('"1,2,3,pv,1511544070', "not a number"),
    ],
)
def test_a_bad_row_is_left_out_and_counted_by_its_kind(tmp_path: Path, line: str, kind: str) -> None:
    events, defects = read(tmp_path, [GOOD[0], line, GOOD[1]])
    assert defects == Defects(3, {kind: 1}, {})
    assert events.rows() == GOOD


def test_the_first_and_the_last_second_of_the_period_count(tmp_path: Path) -> None:
    rows: list[Row] = [(1, 2, 3, "pv", START), (1, 2, 3, "pv", END - 1)]
    events, defects = read(tmp_path, [*rows])
    assert events.rows() == rows
    assert defects.bad == 0


def test_windows_line_ends_and_a_byte_order_mark_are_no_defects(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(b"\xef\xbb\xbf" + "".join(f"{','.join(map(str, row))}\r\n" for row in GOOD).encode())
    events, defects = read_file(path)
    assert events.rows() == GOOD
    assert defects.bad == 0


def test_the_size_of_the_blocks_that_are_read_changes_nothing(tmp_path: Path) -> None:
    rows = [*GOOD, "", "1,2,3", (1, 12, 5, "pv", START + 3), "1,2,3,pv,1511544070,9", (2, 7, 5, "cart", START)] * 9
    whole = read(tmp_path, rows)
    for size in (1, 17, 100):
        events, defects = read(tmp_path, rows, size)
        assert events.equals(whole[0])
        assert defects == whole[1]


def test_a_repeated_row_is_left_out_and_counted(tmp_path: Path, root: Path) -> None:
    path = write_rows(tmp_path / "log.csv", [*ANCHOR, *OTHER, ANCHOR[1], OTHER[0], ANCHOR[1]])
    store = prepare(user_behavior(path, max_bad_fraction=0.5), root)
    assert store.defects == Defects(10, {"repeated row": 3}, {})
    assert len(store.time) == 7


def test_an_item_in_two_categories_takes_that_of_its_earliest_row_and_is_counted(tmp_path: Path, root: Path) -> None:
    rows: list[Row] = [(1, 2, 70, "pv", START + 9), (2, 2, 30, "pv", START + 1), (3, 2, 70, "pv", START + 5)]
    path = write_rows(tmp_path / "log.csv", [*ANCHOR, *OTHER, *rows])
    store = prepare(user_behavior(path, max_bad_fraction=0.5), root)
    assert store.defects == Defects(10, {}, {"item in two categories": 2})
    items, categories = store.vocabulary("item").tolist(), store.vocabulary("category").tolist()
    mine = store.events["item"] == items.index(2) + FIRST_ID
    assert store.events["category"][mine].tolist() == [categories.index(30) + FIRST_ID] * 3
    assert 70 not in categories


@pytest.mark.parametrize("task", TASKS)
def test_memory_changes_how_the_log_is_prepared_but_no_byte_of_the_store(tmp_path: Path, task: str) -> None:
    rows = [
        (n // 6 % 7, n // 2 % 31, n // 2 % 31 % 5, BEHAVIOURS[(n % 4 == 1) * 3], START + n * 3671) for n in range(200)
    ]
    path = write_rows(tmp_path / "log.csv", [*ANCHOR, *OTHER, *rows])
    stores = [
        prepare(user_behavior(path, task=task, memory_gb=memory_gb), tmp_path / str(memory_gb))
        for memory_gb in (1, 3e-6)
    ]
    assert stores[0].data_hash == stores[1].data_hash
    for name in stores[0].manifest["files"]:
        assert (stores[0].folder / name).read_bytes() == (stores[1].folder / name).read_bytes()


def test_more_bad_rows_than_allowed_are_refused_with_the_counts(tmp_path: Path, root: Path) -> None:
    path = write_rows(tmp_path / "log.csv", [*ANCHOR, *OTHER, "1,2,3,pv"])
    with pytest.raises(DataError, match=r"12\.5% of the rows are bad.*1 cut line"):
        prepare(user_behavior(path), root)
    assert not list(root.iterdir())
    assert prepare(user_behavior(path, max_bad_fraction=0.2), root).defects.dropped == {"cut line": 1}


def test_a_file_without_a_usable_row_is_refused_with_the_counts(tmp_path: Path, root: Path) -> None:
    path = write_rows(tmp_path / "log.csv", ["1,2,3,pv,5", "1,2,3,pv,6", "1,2,3,view,7"])
    found = (
        r"no usable row.*2 time out of period \(log.csv, line 1, column 'time': '5'\), "
        r"1 unknown behaviour \(log.csv, line 3, column 'behaviour': 'view'\)"
    )
    with pytest.raises(DataError, match=found):
        prepare(user_behavior(path, max_bad_fraction=1.0), root)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\n\n  \n", "is empty"),
        (gzip.compress(b"1,2,3,pv,1511544070\n" * 50, mtime=0), "gzip-compressed"),
        ("1,2,3,pv,1511544070\n".encode("utf-16"), "UTF-16"),
        ("1,2,3,pv,1511544070\n".encode("utf-16-le"), "another encoding"),
        (b"1,2,3\n4,5,6\n", "has 3 comma-separated columns; expected 5"),
        (b"1\t2\t3\tpv\t5\n", "has 1 comma-separated column; expected 5"),
        (bytes(range(256)) * 40, "binary|columns?"),
    ],
)
def test_a_file_of_another_kind_gives_one_clear_line(tmp_path: Path, root: Path, content: bytes, said: str) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=said) as caught:
        prepare(user_behavior(path), root)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("path", "said"), [(None, "is not set"), ("nowhere.csv", "does not exist"), (".", "a folder")])
def test_a_path_that_names_no_file_is_refused(root: Path, path: str | None, said: str) -> None:
    with pytest.raises(DataError, match=rf"data\.path.* {said}"):
        prepare(user_behavior(path), root)
    assert not root.exists()


def test_periods_out_of_order_are_refused() -> None:
    with pytest.raises(DataError, match=r"data\.test_start=2017-12-01 must lie after data\.validation_start"):
        user_behavior("log.csv", test_start="2017-12-01")


def test_a_log_that_ends_before_the_test_period_is_refused(tmp_path: Path, root: Path) -> None:
    path = write_rows(tmp_path / "log.csv", [*ANCHOR[:3], *OTHER[:2]])
    with pytest.raises(DataError, match="the test split is empty"):
        prepare(user_behavior(path), root)


@needs_real_log
def test_the_real_logs_defects_are_counted(real_store: EventStore) -> None:
    assert real_store.defects == Defects(
        84_476, {"time out of period": 35, "cut line": 1}, {"item in two categories": 1}
    )


@needs_real_log
def test_on_the_real_log_items_are_as_often_unseen_among_positives_as_among_negatives(real_store: EventStore) -> None:
    unseen = {split: facts.unseen["item"] for split, facts in inspect(real_store).splits.items()}
    for positives, negatives in unseen.values():
        assert abs(positives - negatives) < 0.02
    assert 0.65 < unseen["validation"][0] < 0.75


@needs_real_log
def test_on_the_real_log_every_positive_has_four_negatives(real_store: EventStore) -> None:
    for samples in real_store.samples.values():
        assert np.array_equal(samples.label, np.tile([1, 0, 0, 0, 0], len(samples) // 5))
