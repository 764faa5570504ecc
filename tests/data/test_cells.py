"""Numeric and multi-valued fields of somebody's own log, from the file to the batch."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from rich.console import Console

from mdaf.data.inspecting.facts import inspect, show
from mdaf.data.preparing.prepare import prepare
from mdaf.data.schema import BUCKETS, LIST, MATCH_DIFFERS, MATCH_EQUALS, Batch, Cells, weights_of
from mdaf.data.store.device_store import DeviceStore, resident_bytes
from mdaf.data.store.event_store import SPLITS, EventStore
from mdaf.data.store.manifest import CELL_IDS
from mdaf.errors import DamagedStoreError, DataError
from tests.data.stores import reseal
from tests.data.test_event_log import COLUMNS, SAMPLE_COLUMNS, START, event_log, static, write

DRAW = np.random.default_rng(3)
TAGS = ("x", "y", "z", "w")
ROWS = 300
LOG = pl.DataFrame(
    {
        "who": [f"u{n % 11}" for n in range(ROWS)],
        "what": [f"i{n % 7}" for n in range(ROWS)],
        "when": START + 3600 * np.arange(ROWS),
        "clicked": DRAW.random(ROWS) < 0.5,
        "price": [None if n % 17 == 0 else f"{p:.6g}" for n, p in enumerate(DRAW.lognormal(2, 1, ROWS))],
        "tags": ["|".join(TAGS[k] for k in np.flatnonzero(own)) for own in DRAW.random((ROWS, len(TAGS))) < 0.4],
        "seconds": DRAW.integers(0, 200, ROWS),
        "site": ["; ".join(DRAW.choice(["a", "b", "c"], n % 3)) for n in range(ROWS)],
    }
)
FIELDS = {
    "columns": {**COLUMNS, "label": "clicked"},
    "item_fields": ["price", "tags"],
    "event_fields": ["seconds"],
    "context_fields": ["site"],
    "numeric_fields": ["price", "seconds"],
    "list_fields": {"tags": "|", "site": ";"},
    "history": "all",
    "length": 5,
}


def source(folder: Path, frame: pl.DataFrame = LOG, **changes: object):
    return event_log(write(folder, frame), **{**FIELDS, **changes})


@pytest.fixture(scope="module", params=["buckets", "vector"])
def store(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> EventStore:
    folder = tmp_path_factory.mktemp("cells")
    return prepare(source(folder, numeric=request.param, buckets=4), folder / "stores")


def whole(store: EventStore, split: str, **options: object) -> Batch:
    gathered = DeviceStore(store, "cpu", **options)  # type: ignore[arg-type]
    return gathered.gather(split, gathered.rows(split)[None])


def test_each_field_is_where_its_list_says_and_of_its_kind(store: EventStore) -> None:
    schema, numeric = store.schema, store.manifest["settings"].get("numeric", BUCKETS)
    assert [field.name for field in schema.static] == ["user", "item", "price", "tags", "site", "hour", "weekday"]
    assert [field.name for field in schema.sequence] == ["item", "price", "tags", "seconds", "gap"]
    assert [field.name for field in schema.matches] == ["match_item", "match_tags"]
    assert set(schema.target) == {"item", "price", "tags"}
    longest = max(len(set(tags.split("|"))) for tags in LOG["tags"])
    assert schema.cells == {
        "price": Cells(numeric),
        "tags": Cells(LIST, longest),
        "seconds": Cells(numeric),
        "site": Cells(LIST, 2),
    }


def test_a_batch_holds_the_rows_that_each_raw_cell_reads(store: EventStore) -> None:
    raw = {(row["who"], row["when"]): row for row in LOG.iter_rows(named=True)}
    users, times = store.vocabulary("user").tolist(), store.events

    def read_alone(table: str) -> dict[object, tuple[list[int], list[float]]]:
        """The ids and weights of each raw cell of a field."""
        raw_cells = LOG[table].unique()
        ids, weights = store.cell_rows[table].encode(raw_cells)
        lacking = ((0, 0), (0, store.schema.cells[table].members - ids.shape[1]))
        padded = zip(np.pad(ids, lacking).tolist(), np.pad(weights, lacking).tolist(), strict=True)
        return dict(zip(raw_cells.to_list(), padded, strict=True))

    pairs = {table: read_alone(table) for table in store.schema.cells}

    def compare(found: dict[str, torch.Tensor], at: tuple[int, ...], name: str, cell: object) -> None:
        ids, weights = pairs[name][cell]
        if store.schema.cells[name].kind == BUCKETS:
            assert found[name][at] == ids[0]
            assert weights_of(name) not in found
        else:
            assert found[name][at].tolist() == ids
            assert found[weights_of(name)][at].tolist() == weights

    assert set(times) == {"item", "price", "tags", "seconds"}
    for split in SPLITS:
        samples, batch = store.samples[split], whole(store, split)
        for row in range(0, len(samples), 5):
            user, when = users[samples.user[row]], int(samples.time[row])
            own = raw[user, when]
            for name in ("price", "tags", "site"):
                compare(dict(batch.static), (0, row), name, own[name])
            history = [r for r in raw.values() if r["who"] == user and r["when"] < when][-5:]
            assert batch.lengths[0, row] == len(history)
            for place, event in enumerate(history):
                for name in ("price", "tags", "seconds"):
                    compare(dict(batch.sequence), (0, row, place), name, event[name])
                same = set(event["tags"].split("|")) == set(own["tags"].split("|"))
                if event["tags"] and own["tags"]:
                    assert batch.sequence["match_tags"][0, row, place] == (MATCH_EQUALS if same else MATCH_DIFFERS)
            padding = {name: ids[0, row, len(history) :] for name, ids in batch.sequence.items()}
            assert not any(ids.any() for ids in padding.values())


def test_a_mapped_store_gathers_the_same_and_memory_counts_the_rows_of_cells(store: EventStore) -> None:
    for order in ("time", "shuffled"):
        one, other = (whole(store, "train", memory_fraction=m, history_order=order) for m in (1.0, 0.0))
        for found, same in ((one.static, other.static), (one.sequence, other.sequence)):
            assert found.keys() == same.keys()
            assert all(torch.equal(ids, same[name]) for name, ids in found.items())
    plain = replace(store.schema, cells={})
    cells = sum(array.nbytes for table in store.schema.cells for array in store.pairs(table))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "schema", plain)
        assert resident_bytes(store) > 0
        without = resident_bytes(store)
    assert resident_bytes(store) == without + cells


def test_what_is_fitted_comes_from_training_alone(tmp_path: Path, store: EventStore) -> None:
    late = LOG["when"] >= store.boundaries[0]
    price = pl.when(late).then(pl.lit("123456789")).otherwise("price").alias("price")
    tags = pl.when(late).then(pl.lit("new|newer")).otherwise("tags").alias("tags")
    settings = store.manifest["settings"]
    other = source(tmp_path, LOG.with_columns(price, tags), numeric=settings.get("numeric", BUCKETS), buckets=4)
    changed = prepare(other, tmp_path / "stores")
    assert changed.cell_rows == store.cell_rows


def test_inspect_says_what_they_are(store: EventStore) -> None:
    console = Console(width=160, file=io.StringIO(), record=True)
    show(store, inspect(store), console)
    text = " ".join(console.export_text().split())
    numbers = {
        "buckets": "price: a number in 4 buckets, with edges",
        "vector": "price: a number times a vector, with mean",
    }
    assert numbers[store.schema.cells["price"].kind] in text
    assert "missing in 6.25% of training samples" in text.partition("price: ")[2]
    assert "tags: a list of 1." in text
    assert "of 4 values on average, 4 at most (" in text
    assert "missing in 0.00% of events" in text.partition("seconds: ")[2]
    assert "price without an embedding" not in text


def test_changed_rows_of_cells_are_found(tmp_path: Path) -> None:
    built = prepare(source(tmp_path), tmp_path / "stores")
    ids = np.load(built.folder / f"{CELL_IDS}.tags.npy")
    ids[-1] = built.schema.tables["tags"]
    np.save(built.folder / f"{CELL_IDS}.tags.npy", ids)
    with pytest.raises(DamagedStoreError, match="checksum"):
        EventStore.open(built.folder)
    reseal(built.folder)
    with pytest.raises(DamagedStoreError, match=f"{CELL_IDS}.tags.npy holds {ids[-1]}, expected 0 to"):
        EventStore.open(built.folder, deep=True)


def test_a_store_without_such_fields_is_the_one_of_before(tmp_path: Path) -> None:
    plain = event_log(write(tmp_path, LOG), columns=FIELDS["columns"], item_fields=["price"])
    assert {"numeric", "list_fields", "event_fields"}.isdisjoint(prepare(plain, tmp_path).manifest["settings"])
    built = prepare(plain, tmp_path)
    assert "cells" not in built.manifest
    assert "cells" not in built.manifest["schema"]
    assert built.schema.cells == {}


def test_a_cell_that_is_no_number_is_missing_and_counted_or_refused(tmp_path: Path) -> None:
    few = pl.when(pl.int_range(pl.len()) % 40 == 1).then(pl.lit("cheap")).otherwise("price").alias("price")
    built = prepare(source(tmp_path, LOG.with_columns(few)), tmp_path / "stores")
    assert built.defects.corrected == {"price not a number": 8}
    many = pl.when(pl.int_range(pl.len()) % 4 == 1).then(pl.lit("inf")).otherwise("price").alias("price")
    with pytest.raises(DataError, match=r"75 price not a number \(log.csv, line 3, column 'price': 'inf'\)"):
        prepare(source(tmp_path, LOG.with_columns(many)), tmp_path / "stores")


def with_constant_items(frame: pl.DataFrame) -> pl.DataFrame:
    """The log with one price and one list of tags for each item."""
    number = pl.col("what").str.slice(1).cast(pl.Int64)
    return frame.with_columns(price=2.5 * number, tags=pl.lit("a|") + pl.col("what"))


def test_events_of_a_log_without_labels_may_have_the_fields_and_negatives_their_own(tmp_path: Path) -> None:
    frame = with_constant_items(LOG)
    wanted = source(tmp_path, frame, columns=COLUMNS, context_fields=[], list_fields={"tags": "|"})
    built = prepare(wanted, tmp_path / "stores", decided="warn")  # users go round the items
    assert [field.name for field in built.schema.sequence] == ["item", "price", "tags", "seconds", "gap"]
    for item, cost, tags, *_ in static(built, "item", "price", "tags"):
        assert float(cost) == 2.5 * int(item[1:])
        assert tags == f"a|{item}"


def test_a_file_of_samples_has_the_context_and_the_log_has_the_events(tmp_path: Path) -> None:
    names = {"who": "user", "what": "item", "when": "time", "clicked": "label"}
    split = pl.when(pl.int_range(pl.len()) < 200).then(pl.lit("train"))
    split = split.when(pl.int_range(pl.len()) < 250).then(pl.lit("val")).otherwise(pl.lit("test")).alias("split")
    given = LOG.rename(names).select(*names.values(), "site", split)
    samples = write(tmp_path, given, "samples.csv")
    built = prepare(
        source(
            tmp_path,
            with_constant_items(LOG).drop("site", "clicked"),
            samples_path=str(samples),
            sample_columns=SAMPLE_COLUMNS,
        ),
        tmp_path,
    )
    sites = dict(zip(LOG["when"].to_list(), LOG["site"].to_list(), strict=True))
    for found, when, _ in static(built, "site"):
        expected = sorted({site.strip() for site in sites[when].split(";")} - {""})
        assert (found or "") == ";".join(expected)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"event_fields": ["price"]}, "data.event_fields: 'price' is listed twice; leave one out"),
        (
            {"context_fields": ["clicked"]},
            "data.context_fields: 'clicked' is data.columns.label, which is to be predicted",
        ),
        (
            {"numeric_fields": ["cost"]},
            "data.numeric_fields: 'cost' is no field; list it in data.user_fields, item_fields",
        ),
        ({"list_fields": {"what": "|"}}, "data.list_fields: 'what' is no field; list it in"),
        ({"list_fields": {"price": "|"}}, "data.list_fields: 'price' is in data.numeric_fields already; leave one out"),
        ({"list_fields": {"tags": ""}}, "data.list_fields.tags='': expected what stands between two"),
        ({"numeric": "log"}, "data.numeric=log: expected one of buckets, vector"),
        ({"pooling": "max"}, "data.pooling=max: expected one of mean, sum"),
        ({"buckets": 1}, "data.buckets is 1; expected at least 2"),
        (
            {"min_count": {"price": 3}},
            "data.min_count.price: price is a number, and has buckets or one vector; leave it out",
        ),
        ({"columns": COLUMNS}, "data.context_fields: this log has no impressions"),
        ({"event_fields": ["nothing"]}, "nothing"),
    ],
)
def test_a_field_that_cannot_be_is_refused_in_one_line(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    with pytest.raises(DataError) as error:
        prepare(source(tmp_path, **changes), tmp_path / "stores")
    assert said in str(error.value)
    assert "\n" not in str(error.value)
