from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mdaf.data.preparing.checking.leakage import leakage_check
from mdaf.data.preparing.prepare import prepare
from mdaf.data.store.event_store import EventStore
from mdaf.data.store.integrity.ranges import check_ranges
from mdaf.errors import DamagedStoreError, LeakageError
from tests.data.logs import START, user_behavior, write_rows
from tests.data.stores import reseal


def spoiled(store: EventStore, folder: Path, name: str, change: Callable[[np.ndarray], None]) -> EventStore:
    """A copy of a store in which one array is another one, as if it had been written so."""
    copy = Path(shutil.copytree(store.folder, folder / "store"))
    array = np.load(copy / f"{name}.npy")
    change(array)
    np.save(copy / f"{name}.npy", array)
    reseal(copy)
    return EventStore.open(copy)


def test_a_prepared_store_leaks_nothing(synthetic_store: EventStore) -> None:
    leakage_check(synthetic_store)


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="the system does not tell what is mapped")
def test_the_check_leaves_no_samples_and_no_events_mapped_in_memory(
    synthetic_store: EventStore, tmp_path: Path
) -> None:
    """A limit on memory counts the pages of files that a process has touched through a map."""
    store = EventStore.open(shutil.copytree(synthetic_store.folder, tmp_path / "store"))
    leakage_check(store)
    resident, name = {}, ""
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split()[0]:
            name = line.partition("/")[2]
        elif line.startswith("Rss:") and str(store.folder) in f"/{name}":
            resident[Path(name).name] = int(line.split()[1])
    assert "train.time.npy" in resident, "the store is mapped"
    assert {name for name, kilobytes in resident.items() if kilobytes} <= {"user_offsets.npy", "users_of.npy"}


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


def test_events_out_of_order_are_found(synthetic_store: EventStore, tmp_path: Path) -> None:
    time = synthetic_store.time
    ends = np.concatenate([samples.end for samples in synthetic_store.samples.values()])
    same_user = ~np.isin(np.arange(1, len(time)), synthetic_store.user_offsets)
    unread = ~np.isin(np.arange(len(time) - 1), np.concatenate([ends - 2, ends - 1, ends]))
    first = int(np.flatnonzero(same_user & (np.diff(time) > 0) & unread)[0])  # where no history ends

    def change(times: np.ndarray) -> None:
        times[first], times[first + 1] = times[first + 1], times[first]

    with pytest.raises(LeakageError, match="order of time"):
        leakage_check(spoiled(synthetic_store, tmp_path, "events.time", change))


@pytest.mark.parametrize("rule", ["user", "leave_one_out"])
def test_events_that_count_as_training_though_they_are_of_validation_or_test_are_found(
    tmp_path: Path, rule: str
) -> None:
    rows = [(n % 40, n * 7 % 11, n * 7 % 11 % 3, "pv", START + n * 900) for n in range(800)]
    shares = {"validation_share": 0.3, "test_share": 0.3} if rule == "user" else {}
    log = write_rows(tmp_path / "log.csv", rows)
    store = prepare(user_behavior(log, splits=rule, **shares), tmp_path / "stores")

    def change(ends: np.ndarray) -> None:
        ends[:] = store.user_offsets[1:]

    with pytest.raises(LeakageError, match="has a later training event"):
        leakage_check(spoiled(store, tmp_path, "training_ends", change))
    with pytest.raises(DamagedStoreError, match=r"training_ends.npy holds a position outside"):
        check_ranges(spoiled(store, tmp_path / "other", "training_ends", lambda ends: ends.__iadd__(40)))
