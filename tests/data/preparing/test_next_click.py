from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mdaf.data.preparing.prepare import prepare
from mdaf.data.schema import FIRST_ID
from mdaf.data.store.event_store import SPLITS, EventStore
from tests.data.logs import ANCHOR, DAY, OTHER, START, TEST, VALIDATION, Row, user_behavior, write_rows

# Few users, items and seconds, so that ties and repeated items are common.
rows = st.tuples(
    st.integers(1, 3),
    st.integers(1, 6),
    st.sampled_from(["pv", "pv", "cart", "fav", "buy"]),
    st.integers(0, 8),
    st.integers(0, 5),
).map(lambda row: (row[0], row[1], row[1] % 3, row[2], START + row[3] * DAY + row[4]))
logs = st.lists(rows, max_size=40, unique=True).map(lambda log: [*ANCHOR, *OTHER, *log])


def prepared(log: list[Row], **source: object) -> EventStore:
    """The store of a log, its small arrays in memory."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_rows(Path(folder) / "log.csv", log)
        return prepare(user_behavior(path, **source), Path(folder) / "stores")


def raw(store: EventStore, table: str, codes: np.ndarray) -> list:
    return store.vocabulary(table)[codes - FIRST_ID].tolist()


def samples_of(store: EventStore, log: list[Row], split: str) -> list[tuple[int, int, int, int, int]]:
    """(user, item, category, time, label) in raw values."""
    samples = store.samples[split]
    columns = [_raw_in(store, log, name, samples.static[name]) for name in ("user", "item", "category")]
    return list(zip(*columns, samples.time.tolist(), samples.label.tolist(), strict=True))


def _raw_in(store: EventStore, log: list[Row], table: str, codes: np.ndarray) -> list[int]:
    # The folder is gone: the vocabulary is told from the log by its order, count in training and then value.
    column = {"user": 0, "item": 1, "category": 2}[table]
    counts = Counter({row[column]: 0 for row in log})
    counts.update(row[column] for row in log if row[4] < VALIDATION)
    ordered = sorted(counts, key=lambda value: (-counts[value], value))
    return [ordered[code - FIRST_ID] for code in codes.tolist()]


def split_of(time: int) -> str:
    return "train" if time < VALIDATION else "validation" if time < TEST else "test"


@settings(max_examples=10, deadline=None)
@given(logs)
def test_every_view_with_a_strictly_earlier_event_is_a_positive_of_its_period(log: list[Row]) -> None:
    store = prepared(log)
    first = {user: min(row[4] for row in log if row[0] == user) for user in {row[0] for row in log}}
    expected = Counter(row[:3] + row[4:] for row in log if row[3] == "pv" and row[4] > first[row[0]])
    for split in SPLITS:
        found = Counter(sample[:4] for sample in samples_of(store, log, split) if sample[4] == 1)
        assert found == Counter({key: n for key, n in expected.items() if split_of(key[3]) == split})


@settings(max_examples=10, deadline=None)
@given(logs)
def test_a_negative_is_viewed_that_day_and_never_touched_by_its_user(log: list[Row]) -> None:
    store = prepared(log)
    touched = {(user, item) for user, item, *_ in log}
    category = {item: category for _, item, category, *_ in log}
    viewed = {(item, (time - START) // DAY) for _, item, _, behaviour, time in log if behaviour == "pv"}
    for split in SPLITS:
        for user, item, candidates_category, time, label in samples_of(store, log, split):
            if label == 0:
                assert (user, item) not in touched
                assert (item, (time - START) // DAY) in viewed
                assert candidates_category == category[item]


@settings(max_examples=10, deadline=None)
@given(logs)
def test_a_history_holds_all_events_strictly_before_its_sample_and_no_other(log: list[Row]) -> None:
    store = prepared(log)
    for split in SPLITS:
        samples = store.samples[split]
        for row, (user, *_, time, _label) in enumerate(samples_of(store, log, split)):
            history = slice(store.user_offsets[samples.user[row]], samples.end[row])
            # The sort is stable: events of one second stay in the order of the log.
            before = sorted(
                (event for event in log if event[0] == user and event[4] < time), key=lambda event: event[4]
            )
            assert store.time[history].tolist() == [event[4] for event in before]
            assert _raw_in(store, log, "item", store.events["item"][history]) == [event[1] for event in before]


@settings(max_examples=20, deadline=None)
@given(logs)
def test_no_training_row_is_later_than_any_validation_row_nor_that_than_any_test_row(log: list[Row]) -> None:
    samples = prepared(log).samples
    assert samples["train"].time.max() < samples["validation"].time.min()
    assert samples["validation"].time.max() < samples["test"].time.min()


def test_negatives_come_from_their_own_stream_so_another_seed_draws_others() -> None:
    extra = [(1 + n % 3, 10 + n % 40, 1, "pv", START + 100 * n) for n in range(200)]
    log = [*ANCHOR, *OTHER, *extra]
    items = [prepared(log, seed=seed).samples["train"].static["item"].tolist() for seed in (0, 0, 1)]
    assert items[0] == items[1] != items[2]


def test_an_item_that_training_lacks_reads_the_unknown_row_but_keeps_its_own_code() -> None:
    log = [*ANCHOR, *OTHER, (1, 70, 7, "pv", VALIDATION + 1), (1, 71, 7, "pv", VALIDATION + 2)]
    store = prepared(log)
    codes = store.events["item"][store.time > VALIDATION]
    late = codes[codes >= store.schema.tables["item"]]
    assert len(np.unique(late)) == len({70, 71, ANCHOR[3][1]})


def test_an_item_below_the_minimal_count_has_no_row() -> None:
    assert prepared([*ANCHOR, *OTHER], min_count={"item": 2}).schema.tables["item"] == FIRST_ID
    assert prepared([*ANCHOR, *OTHER], min_count={"item": 1}).schema.tables["item"] == FIRST_ID + 3
