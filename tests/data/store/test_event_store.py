from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mdaf.data.schema import FIRST_ID, PADDING, UNKNOWN
from mdaf.data.store.event_store import MANIFEST, SPLITS, EventStore, read_part
from mdaf.errors import DataError


@pytest.fixture
def folder(synthetic_store: EventStore, tmp_path: Path) -> Path:
    """A copy of a whole store, to be damaged."""
    return Path(shutil.copytree(synthetic_store.folder, tmp_path / "store"))


def test_a_store_opens_with_what_its_manifest_says(synthetic_store: EventStore) -> None:
    store = EventStore.open(synthetic_store.folder)
    counts = store.manifest["counts"]
    assert counts["events"] == len(store.time) == store.user_offsets[-1]
    assert counts["users"] == store.users
    assert counts["samples"] == {split: len(store.samples[split]) for split in SPLITS}
    assert store.folder.name == f"synthetic-{store.data_hash[:12]}"


def test_events_are_sorted_by_user_and_time(synthetic_store: EventStore) -> None:
    store = synthetic_store
    for first, last in zip(store.user_offsets, store.user_offsets[1:], strict=False):
        assert (np.diff(store.time[first:last]) >= 0).all()


def test_no_padded_history_is_stored(synthetic_store: EventStore) -> None:
    for codes in synthetic_store.events.values():
        assert len(codes) == len(synthetic_store.time)
        assert (codes != PADDING).all()
        assert (codes >= UNKNOWN).all()


def test_arrays_are_mapped_and_cannot_be_written_to(synthetic_store: EventStore) -> None:
    with pytest.raises(ValueError, match="read-only"):
        EventStore.open(synthetic_store.folder).samples["train"].end[0] = 0


@pytest.mark.parametrize("part", [slice(None), slice(0, 0), slice(3, 7), slice(5, 10**9), slice(-3, None)])
def test_a_part_that_is_read_from_its_file_is_that_of_the_mapped_array(
    synthetic_store: EventStore, part: slice
) -> None:
    for array in (synthetic_store.time, synthetic_store.time[2:], synthetic_store.samples["test"].label):
        assert read_part(array, part).tolist() == array[part].tolist()


def test_codes_read_back_as_raw_values(synthetic_store: EventStore) -> None:
    names = synthetic_store.vocabulary("behaviour")[synthetic_store.events["behaviour"] - FIRST_ID]
    assert set(names.tolist()) <= {"pv", "cart", "fav", "buy"}


def test_a_folder_without_a_manifest_is_no_store(folder: Path) -> None:
    (folder / MANIFEST).unlink()
    with pytest.raises(DataError, match="is not a prepared store"):
        EventStore.open(folder)


def test_a_truncated_array_is_found_before_it_is_read(folder: Path) -> None:
    array = folder / "events.time.npy"
    array.write_bytes(array.read_bytes()[:-8])
    with pytest.raises(DataError, match=r"events\.time\.npy has .* bytes, its manifest says .*: the store is damaged"):
        EventStore.open(folder)


def test_a_missing_array_is_found_before_it_is_read(folder: Path) -> None:
    (folder / "train.end.npy").unlink()
    with pytest.raises(DataError, match=r"train\.end\.npy is missing"):
        EventStore.open(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}'])
def test_an_unreadable_manifest_is_one_clear_line(folder: Path, text: str) -> None:
    (folder / MANIFEST).write_text(text)
    with pytest.raises(DataError, match=r"cannot be read as a manifest .*; delete the folder") as caught:
        EventStore.open(folder)
    assert "\n" not in str(caught.value)


def test_another_format_is_refused_by_its_number(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**manifest, "format": 99}))
    with pytest.raises(DataError, match="format 99"):
        EventStore.open(folder)


def test_a_header_that_python_fails_to_parse_beside_other_threads_is_read_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load, failed = np.load, set[Path]()

    def fails_once(path: Path, **how: Any) -> Any:
        if path not in failed:
            failed.add(path)
            raise SystemError("AST constructor recursion depth mismatch (before=57, after=62)")
        return load(path, **how)

    monkeypatch.setattr(np, "load", fails_once)
    opened = EventStore.open(folder)
    assert len(failed) > 3
    assert opened.users > 0


def test_an_array_with_another_header_of_the_same_size_is_damage(folder: Path) -> None:
    array = folder / "events.time.npy"
    array.write_bytes(b"\0" * array.stat().st_size)
    with pytest.raises(DataError, match="the store is damaged"):
        EventStore.open(folder)
