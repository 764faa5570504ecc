from __future__ import annotations

import pytest
import torch

from benchmarks.oracle import Fewer
from mdaf.data.preparing.prepare import prepare
from mdaf.data.schema import Batch
from mdaf.data.store.device_store import DeviceStore
from mdaf.data.store.event_store import EventStore
from tests.data.logs import synthetic


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> EventStore:
    return prepare(synthetic(), tmp_path_factory.mktemp("stores"))


def fewer(store: EventStore, count: int) -> Fewer:
    return Fewer(store, torch.device("cpu"), count, "time")


def described(batch: Batch) -> list[str]:
    """Every sample's fields."""
    columns = (ids[0].tolist() for ids in (*batch.static.values(), *batch.sequence.values()))
    return [str(row) for row in zip(*columns, strict=True)]


def test_of_fewer_training_rows_each_is_one_of_the_stores_and_none_comes_twice(store: EventStore) -> None:
    some, whole = fewer(store, 70), DeviceStore(store, "cpu")
    assert some.rows("train").tolist() == list(range(70))
    batch = some.gather("train", some.rows("train")[None])
    every = whole.gather("train", whole.rows("train")[None], int(batch.lengths.max()))

    rows = described(batch)
    assert len(set(rows)) == 70
    assert set(rows) <= set(described(every))
    assert torch.equal(some.labels("train"), batch.labels[0])
    assert some.lengths("train").tolist() == batch.lengths[0].tolist()


def test_more_rows_hold_the_fewer_ones_and_validation_stays_whole(store: EventStore) -> None:
    some, more = fewer(store, 50), fewer(store, 400)
    assert torch.equal(some.labels("train"), more.labels("train")[:50])
    assert torch.equal(some.lengths("train"), more.lengths("train")[:50])
    assert len(some.rows("validation")) == len(some.labels("validation")) == 200
