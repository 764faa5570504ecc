from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from data.errors import LeakageError
from data.leakage import leakage_check
from data.store import EventStore


def spoiled(store: EventStore, folder: Path, name: str, change: Callable[[np.ndarray], None]) -> EventStore:
    """A copy of a store in which one array is changed in place."""
    copy = Path(shutil.copytree(store.folder, folder / "store"))
    array = np.load(copy / f"{name}.npy")
    change(array)
    np.save(copy / f"{name}.npy", array)
    return EventStore.open(copy)


def test_a_prepared_store_leaks_nothing(synthetic_store: EventStore) -> None:
    leakage_check(synthetic_store)


@pytest.mark.parametrize(
    ("name", "day", "said"),
    [
        ("train.time", 0, "train sample"),
        ("validation.time", 1, "validation sample"),
        ("validation.time", -1, "validation sample"),
        ("test.time", -1, "test sample"),
    ],
)
def test_a_sample_outside_its_period_is_found(
    synthetic_store: EventStore, tmp_path: Path, name: str, day: int, said: str
) -> None:
    def change(times: np.ndarray) -> None:
        times[0] = synthetic_store.boundaries[0] + day * 86_400

    with pytest.raises(LeakageError, match=said):
        leakage_check(spoiled(synthetic_store, tmp_path, name, change))


@pytest.mark.parametrize(("step", "said"), [(1, "not strictly before|another user"), (-1, "lacks an event|another")])
def test_a_history_that_ends_too_late_or_too_early_is_found(
    synthetic_store: EventStore, tmp_path: Path, step: int, said: str
) -> None:
    def change(ends: np.ndarray) -> None:
        ends[len(ends) // 2] += step

    with pytest.raises(LeakageError, match=said):
        leakage_check(spoiled(synthetic_store, tmp_path, "test.end", change))


def test_an_event_of_the_samples_own_second_is_found_in_its_history(
    synthetic_store: EventStore, tmp_path: Path
) -> None:
    samples = synthetic_store.samples["test"]

    def change(times: np.ndarray) -> None:
        times[5] = synthetic_store.time[samples.end[5] - 1]

    assert samples.end[5] > synthetic_store.user_offsets[samples.user[5]]
    assert synthetic_store.time[samples.end[5] - 1] >= synthetic_store.boundaries[1]
    with pytest.raises(LeakageError, match="not strictly before"):
        leakage_check(spoiled(synthetic_store, tmp_path, "test.time", change))


def test_a_vocabulary_that_holds_what_training_lacks_is_found(synthetic_store: EventStore, tmp_path: Path) -> None:
    def change(codes: np.ndarray) -> None:
        codes[codes == 2] = 3

    with pytest.raises(LeakageError, match="rows of table 'hour' name things that training lacks"):
        leakage_check(spoiled(synthetic_store, tmp_path, "train.static.hour", change))
