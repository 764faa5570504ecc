from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdaf.data.preparing.next_click import TASKS
from mdaf.data.preparing.prepare import prepare
from mdaf.data.schema import FIRST_ID
from mdaf.data.store.event_store import SPLITS, EventStore
from mdaf.data.store.held_out import held_out
from mdaf.errors import DataError
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
def test_a_negative_is_viewed_that_day_and_is_not_the_positive_itself(log: list[Row]) -> None:
    store = prepared(log)
    category = {item: category for _, item, category, *_ in log}
    viewed = {(item, (time - START) // DAY) for _, item, _, behaviour, time in log if behaviour == "pv"}
    for split in SPLITS:
        positive = 0
        for _, item, candidates_category, time, label in samples_of(store, log, split):
            positive = item if label else positive
            assert label == (item == positive)
            assert (item, (time - START) // DAY) in viewed
            assert candidates_category == category[item]


def test_what_a_user_viewed_before_or_views_later_that_day_may_be_a_negative() -> None:
    visits: list[Row] = [(1, 1 + n % 5, 1, "pv", START + n) for n in range(100)]
    log = [*ANCHOR, *OTHER, *visits]
    pairs, positive = set(), 0
    for user, item, _, _, label in samples_of(prepared(log), log, "train"):
        positive = item if label else positive
        pairs |= {(positive, item)} if user == 1 else set()
    assert pairs >= {(one, other) for one in range(1, 6) for other in range(1, 6)}  # itself where it is the positive


def test_a_day_that_two_splits_share_has_a_pool_for_each() -> None:
    noon = "2017-12-02T12:00:00"
    morning: list[Row] = [(1, 10 + n % 5, 1, "pv", VALIDATION + n) for n in range(50)]
    evening: list[Row] = [(1, 20 + n % 5, 1, "pv", VALIDATION + DAY // 2 + n) for n in range(50)]
    log = [*ANCHOR, *OTHER, *morning, *evening]
    with tempfile.TemporaryDirectory() as folder:
        path = write_rows(Path(folder) / "log.csv", log)
        store = prepare(user_behavior(path, validation_start=noon), Path(folder) / "stores")
        late = {split: set(raw(store, "item", samples.static["item"])) for split, samples in store.samples.items()}
    assert set(range(10, 15)) <= late["train"] <= {*range(10, 15), 90, 91, 92, 95}
    assert late["validation"] == set(range(20, 25))


@pytest.mark.parametrize("task", TASKS)
def test_users_who_are_held_out_are_the_test_and_nothing_else(tmp_path: Path, task: str) -> None:
    visits: list[Row] = [
        (user, 100 * user + n % 5, user % 5, "buy" if n % 4 == 3 else "pv", START + n * 9000 + user)
        for user in range(1, 31)
        for n in range(85)
    ]
    path = write_rows(tmp_path / "log.csv", visits)
    store = prepare(user_behavior(path, task=task, held_out_users=0.3), tmp_path / "stores")
    found = {split: set(raw(store, "user", samples.static["user"])) for split, samples in store.samples.items()}
    assert found["test"] == set(np.array(range(1, 31))[held_out(np.arange(1, 31), 0.3)])
    assert 4 <= len(found["test"]) <= 14
    assert found["train"] == found["validation"] == set(range(1, 31)) - found["test"]
    known = store.vocabulary("item")[: store.schema.tables["item"] - FIRST_ID] // 100
    assert set(known.tolist()) == found["train"], "no vocabulary learns of users who are held out"
    lengths = {
        store.users_of[user]: length
        for user, length in zip(store.samples["test"].user, store.history_lengths("test"), strict=True)
    }
    assert min(lengths.values()) == 50, "their events before the test are their histories"
    everybody = prepare(user_behavior(path, task=task), tmp_path / "stores")
    assert everybody.data_hash != store.data_hash
    with pytest.raises(DataError, match="have users of both kinds"):
        prepare(user_behavior(path, task=task, held_out_users=1e-9), tmp_path / "stores")


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
