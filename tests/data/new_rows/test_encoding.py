"""Rows with raw ids are encoded as the store's own samples were, whichever source prepared the store."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from mdaf.data.new_rows.candidates import ROWS
from mdaf.data.new_rows.encoding import RowEncoder
from mdaf.data.new_rows.row_format import DescribesRows
from mdaf.data.new_rows.rows import Rows
from mdaf.data.new_rows.tables import table_of
from mdaf.data.preparing.prepare import prepare
from mdaf.data.preparing.source import Source
from mdaf.data.schema import FIRST_ID, UNKNOWN, Batch
from mdaf.data.store.device_store import DeviceStore
from mdaf.data.store.event_store import EventStore
from mdaf.errors import DataError
from tests.data import test_event_log, test_movielens, test_taobao_ad
from tests.data.logs import ANCHOR, OTHER, START, synthetic, user_behavior, write_rows
from tests.data.test_event_log import COLUMNS, SAMPLE_COLUMNS, event_log


def raw(store: EventStore, name: str, codes: np.ndarray) -> list:
    """The raw values of codes, as a file would hold them."""
    values = store.vocabulary(name).tolist()
    return [None if code == UNKNOWN else str(values[code - FIRST_ID]) for code in codes.tolist()]


def rows_of(store: EventStore, split: str, fields: Sequence[str]) -> pl.DataFrame:
    """The samples of a split as somebody would ask for their scores."""
    samples = store.samples[split]
    columns = {name: raw(store, name, samples.static[name]) for name in fields}
    return pl.DataFrame({**columns, "time": np.array(samples.time)})


def encoded(source: Source, store: EventStore, rows: pl.DataFrame, events: pl.DataFrame | Path | None = None) -> Batch:
    """The batch of all rows, in their order."""
    assert isinstance(source, DescribesRows)
    form = source.new_rows().of(store)
    given = None
    if events is not None:
        table = table_of(events, form)
        given = (frame for frame, _, _ in Rows.of(table, form, form.events).events())
    typed = [typed for _, typed, _ in Rows.of(table_of(rows, form), form, form.rows).scorable()]
    candidates, order = RowEncoder(store, form, given).candidates(pl.concat(typed))
    gathered = DeviceStore(candidates, "cpu")
    place = torch.empty(len(order), dtype=torch.int64)
    place[torch.from_numpy(order)] = torch.arange(len(order))
    return gathered.gather(ROWS, place[None])


def assert_same(found: Batch, expected: Batch) -> None:
    assert torch.equal(found.lengths, expected.lengths)
    for ours, theirs in ((found.static, expected.static), (found.sequence, expected.sequence)):
        assert ours.keys() == theirs.keys()
        for name in ours:
            assert torch.equal(ours[name], theirs[name]), name


def of_split(store: EventStore, split: str) -> Batch:
    device = DeviceStore(store, "cpu")
    return device.gather(split, device.rows(split)[None])


def _event_log(folder: Path, **settings: object) -> Source:
    (folder / "log.csv").write_text(test_event_log.ROWS.write_csv())
    return event_log(folder / "log.csv", **settings)


def _next_click(folder: Path) -> Source:
    columns = {**COLUMNS, "category": "kind", "behaviour": "did"}
    return _event_log(folder, columns=columns, user_fields=["age"], item_fields=["maker"], view="view")


def _leave_one_out(folder: Path) -> Source:
    columns = {**COLUMNS, "category": "kind", "behaviour": "did"}
    return _event_log(folder, columns=columns, user_fields=["age"], splits="leave_one_out", negatives_from="mixed")


def _by_user(folder: Path) -> Source:
    return _event_log(
        folder,
        columns={**COLUMNS, "category": "kind"},
        item_fields=["maker"],
        splits="user",
        validation_share=0.3,
        test_share=0.3,
    )


def _side_tables(folder: Path) -> Source:
    """Makers and ages are described in files of their own, from the beginning."""
    log = test_event_log.ROWS
    for name, key, field in (("items", "what", "maker"), ("users", "who", "age")):
        log.select(key, field).unique(key, keep="first").write_csv(folder / f"{name}.csv")
    tables = {f"{owner}_table": {"path": str(folder / f"{owner}s.csv")} for owner in ("item", "user")}
    log.drop("maker", "age").write_csv(folder / "log.csv")
    return event_log(folder / "log.csv", columns=COLUMNS, item_fields=["maker"], user_fields=["age"], **tables)


def _without_users(folder: Path) -> Source:
    """Impressions of nobody in particular and at no time: only their own columns say something."""
    columns = {"user": None, "item": None, "time": None, "label": "clicked"}
    return _event_log(folder, columns=columns, context_fields=["kind", "maker", "age"], numeric_fields=["age"])


def _labelled(folder: Path) -> Source:
    columns = {**COLUMNS, "category": "kind", "label": "clicked"}
    return _event_log(folder, columns=columns, user_fields=["age"], item_fields=["maker"], history="all")


def _clicks(folder: Path) -> Source:
    """Histories hold the clicked rows alone."""
    return _event_log(folder, columns={**COLUMNS, "label": "clicked"}, history="positives")


def _given(folder: Path) -> Source:
    log = test_event_log.ROWS
    split = pl.Series(np.where(np.arange(len(log)) < 150, "train", np.where(np.arange(len(log)) < 200, "val", "test")))
    samples = log.select(user="who", item="what", category="kind", time="when", label="clicked", split=split)
    samples.write_csv(folder / "samples.csv")
    columns = {**COLUMNS, "category": "kind"}
    return _event_log(
        folder, columns=columns, item_fields=["maker"], user_fields=["age"], samples_path=str(folder / "samples.csv"),
        sample_columns=SAMPLE_COLUMNS,
    )  # fmt: skip


def _cells(folder: Path) -> Source:
    """Numbers and lists, of users, items, events and impressions."""
    log = test_event_log.ROWS.with_columns(
        price=pl.int_range(pl.len()) % 17 * 1.25,
        tags=pl.Series([f"t{n % 5}|t{n % 3}" if n % 7 else "" for n in range(len(test_event_log.ROWS))]),
        slot=pl.int_range(pl.len()) % 4,
    )
    log.write_csv(folder / "log.csv")
    return event_log(
        folder / "log.csv",
        columns={**COLUMNS, "label": "clicked"},
        user_fields=["age"],
        item_fields=["tags"],
        event_fields=["price"],
        context_fields=["slot"],
        numeric_fields=["age", "price"],
        list_fields={"tags": "|"},
        history="all",
    )


def _user_behavior(folder: Path) -> Source:
    rows = [(n % 7, n * n % 11, n * n % 11 % 3, ("pv", "pv", "buy")[n % 3], START + n * 3600) for n in range(210)]
    return user_behavior(write_rows(folder / "log.csv", [*rows, *ANCHOR, *OTHER]))


def _taobao_ad(folder: Path) -> Source:
    return test_taobao_ad.taobao_ad(test_taobao_ad.write(folder))


def _movielens(folder: Path) -> Source:
    return test_movielens.movielens(test_movielens.write(folder))


SOURCES: dict[str, tuple[Callable[[Path], Source], dict[str, str]]] = {  # and field -> column of what is needed
    "next click": (_next_click, {"user": "who", "item": "what", "time": "when"}),
    "clicks": (_clicks, COLUMNS),
    "leave one out": (_leave_one_out, COLUMNS),
    "whole users": (_by_user, COLUMNS),
    "side tables": (_side_tables, COLUMNS),
    "without users": (_without_users, {"kind": "kind", "maker": "maker", "age": "age"}),
    "labelled": (_labelled, {"user": "who", "item": "what", "category": "kind", "time": "when"}),
    "file of samples": (_given, {"user": "user", "item": "item", "category": "category", "time": "time"}),
    "numbers and lists": (
        _cells,
        {"user": "who", "item": "what", "age": "age", "tags": "tags", "slot": "slot", "time": "when"},
    ),
    "user_behavior": (_user_behavior, {}),
    "synthetic": (lambda _: synthetic(), {}),
    "taobao_ad": (_taobao_ad, {"position": "position"}),
    "movielens": (_movielens, {}),
}


@pytest.mark.parametrize("name", SOURCES)
def test_the_samples_of_a_store_written_as_raw_rows_give_the_same_batch(name: str, tmp_path: Path) -> None:
    make, columns = SOURCES[name]
    source = make(tmp_path)
    store = prepare(source, tmp_path / "stores")
    for split in ("validation", "test"):
        fields = dict.fromkeys(columns or ("user", "item"))
        if "position" in columns:
            fields |= dict.fromkeys(("user", "item"))
        fields.pop("time", None)
        rows = rows_of(store, split, list(fields)).rename(columns, strict=False)
        assert_same(encoded(source, store, rows), of_split(store, split))


def test_rows_that_list_their_own_history_give_the_batch_of_the_store(tmp_path: Path) -> None:
    histories = {(user, n): [10 + (user + k) % 4 for k in range(n)] for user in range(1, 31) for n in range(3)}
    lines = [test_taobao_ad.joined_line(user, n % 2, history) for (user, n), history in histories.items()]
    (tmp_path / "log.csv").write_text("".join(f"{line}\n" for line in lines))
    source = test_taobao_ad.joined(tmp_path / "log.csv")
    store = prepare(source, tmp_path / "stores")
    expected = of_split(store, "validation")
    rows = rows_of(store, "validation", ("user", "item", "position", "category")).drop("time")
    lists: dict[str, list[str]] = {"categories": [], "brands": []}
    samples = store.samples["validation"]
    for user, end in zip(samples.user, samples.end, strict=True):
        held = slice(int(store.user_offsets[user]), int(end))
        for column, name in (("categories", "category"), ("brands", "brand")):
            lists[column].append("|".join(raw(store, name, store.events[name][held])))
    assert_same(encoded(source, store, rows.with_columns(**{k: pl.Series(v) for k, v in lists.items()})), expected)


@pytest.mark.parametrize("name", ["next click", "clicks", "file of samples", "user_behavior"])
def test_the_log_given_as_events_gives_the_histories_of_the_store(name: str, tmp_path: Path) -> None:
    make, columns = SOURCES[name]
    source = make(tmp_path)
    store = prepare(source, tmp_path / "stores")
    log = tmp_path / "log.csv"  # that of user_behavior has no header
    fields = ["user", "item", *(["category"] if name == "file of samples" else [])]
    rows = rows_of(store, "test", fields).rename({field: columns.get(field, field) for field in (*fields, "time")})
    assert_same(encoded(source, store, rows, log), of_split(store, "test"))


def test_events_without_times_are_in_their_order_and_a_row_comes_after_all_of_them(tmp_path: Path) -> None:
    source = _event_log(tmp_path, columns={**COLUMNS, "time": None, "label": "clicked"}, history="all")
    store = prepare(source, tmp_path / "stores")
    rows = test_event_log.ROWS.select("who", "what").unique("who", keep="first", maintain_order=True)
    assert_same(encoded(source, store, rows, tmp_path / "log.csv"), encoded(source, store, rows))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Source, EventStore]:
    """A log of views with categories, and its store."""
    folder = tmp_path_factory.mktemp("shop")
    source = _user_behavior(folder)
    return source, prepare(source, folder / "stores")


LATE = START + 30 * 86_400


def test_items_that_the_store_has_never_seen_still_equal_themselves(shop: tuple[Source, EventStore]) -> None:
    viewed = [("9999", "7", LATE), ("8888", "7", LATE + 1), ("0", "0", LATE + 2)]
    events = pl.DataFrame(
        [("1", *view, "pv") for view in viewed], ["user", "item", "category", "time", "behaviour"], orient="row"
    )
    rows = pl.DataFrame({"user": ["1", "1"], "item": ["9999", "7777"], "category": ["7", "6"], "time": [LATE + 9] * 2})
    found = encoded(*shop, rows, events)
    assert found.static["item"].tolist() == [[UNKNOWN, UNKNOWN]]
    assert found.sequence["match_item"].tolist() == [[[3, 2, 2], [2, 2, 2]]]
    assert found.sequence["match_category"].tolist() == [[[3, 3, 2], [2, 2, 2]]]
    alone = encoded(*shop, rows)
    assert set(alone.sequence["match_item"][0, :, :3].flatten().tolist()) == {2}, "the store's events are other items"


def test_a_user_whom_the_store_does_not_know_has_no_history(shop: tuple[Source, EventStore]) -> None:
    rows = pl.DataFrame({"user": ["12345", None, "1"], "item": ["4"] * 3, "time": [LATE] * 3})
    found = encoded(*shop, rows)
    assert found.lengths.tolist()[0][:2] == [0, 0]
    assert found.lengths[0, 2] > 0
    assert found.static["user"].tolist()[0][:2] == [UNKNOWN, UNKNOWN]


def test_histories_end_strictly_before_the_time_of_the_row(shop: tuple[Source, EventStore]) -> None:
    source, store = shop
    own = slice(*store.user_offsets[:2])
    times = np.unique(store.time[own])
    user = raw(store, "user", np.array([FIRST_ID]))
    rows = pl.DataFrame({"user": user * len(times), "item": ["4"] * len(times), "time": times})
    before = [int((store.time[own] < time).sum()) for time in times]
    assert encoded(source, store, rows).lengths.tolist() == [before]


def test_what_an_item_is_comes_from_the_store_then_from_the_row(shop: tuple[Source, EventStore]) -> None:
    _, store = shop
    known = rows_of(store, "test", ("item", "category")).head(1)
    category = store.samples["test"].static["category"][0]
    rows = pl.DataFrame({"user": ["1"] * 3, "item": [known["item"][0], "777777", "777777"], "time": [LATE] * 3})
    found = encoded(*shop, rows.with_columns(category=pl.Series([None, known["category"][0], None])))
    assert found.static["category"].tolist() == [[category, category, UNKNOWN]]


def test_ids_and_times_are_read_alike_in_every_format(shop: tuple[Source, EventStore], tmp_path: Path) -> None:
    source, store = shop
    plain = rows_of(store, "test", ("user", "item")).cast(pl.Int64)
    expected = encoded(source, store, plain)
    floats = plain.with_columns(pl.col("user", "item").cast(pl.Float64))
    moments = plain.with_columns(time=pl.from_epoch("time").dt.replace_time_zone("UTC"))
    local = plain.with_columns(time=pl.from_epoch(pl.col("time") + 8 * 3600))
    for rows in (floats, moments, local, plain.with_columns(pl.all().cast(pl.String))):
        assert_same(encoded(source, store, rows), expected)
    with pytest.raises(DataError, match="column 'time' holds Float32, which rounds times to minutes"):
        encoded(source, store, plain.with_columns(pl.col("time").cast(pl.Float32)))
    assert isinstance(source, DescribesRows)
    form = source.new_rows().of(store)
    plain.write_csv(tmp_path / "rows.tsv", separator="\t")
    floats.write_parquet(tmp_path / "rows.parquet")
    (tmp_path / "rows.csv.gz").write_bytes(gzip.compress(plain.write_csv().encode()))
    (tmp_path / "rows.jsonl").write_text(plain.write_ndjson().replace("}\n", "}\n\n", 1))
    for file in ("rows.tsv", "rows.parquet", "rows.csv.gz", "rows.jsonl"):
        blocks = Rows.of(table_of(tmp_path / file, form), form, form.rows).scorable()
        typed = pl.concat(typed for _, typed, _ in blocks)
        assert typed.select(plain.columns).rows() == plain.rows(), file


def test_a_cell_that_the_store_has_never_seen_reads_the_rows_of_its_number_and_its_members(tmp_path: Path) -> None:
    source = _cells(tmp_path)
    store = prepare(source, tmp_path / "stores")
    rows = pl.DataFrame(
        {"who": "u1", "what": "i1", "when": LATE, "slot": 1, "age": [1.37, 0.63], "tags": ["t4|t2|t1|new", "t1"]}
    )
    found = encoded(source, store, rows)
    for row, (age, tags) in enumerate(zip(rows["age"], rows["tags"], strict=True)):
        for name, cell in (("age", str(age)), ("tags", tags)):
            ids, weights = (part[0] for part in store.cell_rows[name].encode(pl.Series([cell])))
            read = found.static[name][0, row]
            if name == "age":
                assert [read.item()] == ids.tolist()
                continue
            given = dict(zip(read.tolist(), found.static["tags/weights"][0, row].tolist(), strict=True))
            given.pop(0, None)
            assert given == pytest.approx(dict(zip(ids.tolist(), weights.tolist(), strict=True)))
