from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest

from mdaf.data.preparing.prepare import prepare, prepare_config
from mdaf.data.preparing.source import Contents, Progress, Source
from mdaf.data.reading.file_hashes import FileHashes
from mdaf.data.store.event_store import MANIFEST
from mdaf.data.store.writer import StoreWriter
from mdaf.errors import DataError, LeakageError
from tests.data.logs import ANCHOR, OTHER, VALIDATION, synthetic, user_behavior, write_rows


@dataclass
class Watched:
    """A source that counts how often it is built, and may fail or spoil what it has written."""

    source: Source
    fails_after_writing: bool = False
    waits: Barrier | None = None
    built: int = 0

    @property
    def name(self) -> str:
        return self.source.name

    def fingerprint(self, hashes: FileHashes) -> dict[str, Any]:
        return self.source.fingerprint(hashes)

    def build(self, writer: StoreWriter, progress: Progress) -> Contents:
        self.built += 1
        if self.waits:
            self.waits.wait(timeout=30)
        contents = self.source.build(writer, progress)
        if self.fails_after_writing:
            raise KeyboardInterrupt
        return contents


def contents_of(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


def test_preparing_again_opens_what_is_there(root: Path) -> None:
    source = Watched(synthetic())
    first, second = prepare(source, root), prepare(source, root)
    assert source.built == 1
    assert first.folder == second.folder
    assert contents_of(root) == [first.folder.name]


def test_other_settings_give_another_store(root: Path) -> None:
    assert prepare(synthetic(), root).data_hash != prepare(synthetic(length=9), root).data_hash
    assert len(contents_of(root)) == 2


def test_the_same_content_elsewhere_gives_the_same_store_and_other_content_another(tmp_path: Path, root: Path) -> None:
    rows = [*ANCHOR, *OTHER]
    (tmp_path / "elsewhere").mkdir()
    here = user_behavior(write_rows(tmp_path / "a.csv", rows))
    there = user_behavior(write_rows(tmp_path / "elsewhere" / "b.csv", rows))
    changed = user_behavior(write_rows(tmp_path / "c.csv", [*rows, (5, 6, 7, "pv", VALIDATION)]))
    hashes = [prepare(source, root).data_hash for source in (here, there, changed)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_preparing_twice_writes_the_same_bytes(tmp_path: Path) -> None:
    stores = [prepare(synthetic(), tmp_path / name) for name in ("a", "b")]
    for name in stores[0].manifest["files"]:
        assert (stores[0].folder / name).read_bytes() == (stores[1].folder / name).read_bytes()


def test_an_interrupted_preparation_leaves_nothing_that_could_be_taken_for_a_store(root: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        prepare(Watched(synthetic(), fails_after_writing=True), root)
    assert contents_of(root) == []


def test_a_half_written_store_is_not_taken_for_a_whole_one(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = Watched(synthetic())
    whole = prepare(source, root)
    files = whole.manifest["files"]
    (whole.folder / MANIFEST).unlink()
    again = prepare(source, root)
    assert source.built == 2
    assert again.manifest["files"] == files
    assert "is not a prepared store" in caplog.text
    assert contents_of(root) == [again.folder.name]


def test_a_damaged_store_is_prepared_again(root: Path) -> None:
    source = Watched(synthetic())
    array = prepare(source, root).folder / "train.end.npy"
    array.write_bytes(array.read_bytes()[:-1])
    assert len(prepare(source, root).samples["train"]) == 700
    assert source.built == 2


def test_of_several_that_prepare_at_once_one_wins_and_all_have_its_store(root: Path) -> None:
    workers = 3
    source = Watched(synthetic(), waits=Barrier(workers))
    with ThreadPoolExecutor(workers) as pool:
        stores = list(pool.map(lambda _: prepare(source, root), range(workers)))
    assert source.built == workers
    assert len({store.folder for store in stores}) == 1
    assert contents_of(root) == [stores[0].folder.name]


def test_a_store_that_leaks_is_never_published(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def late(self: StoreWriter, split: str, **arrays: Any) -> None:
        arrays["end"] = arrays["end"] + 1
        honest(self, split, **arrays)

    honest = StoreWriter.samples
    monkeypatch.setattr(StoreWriter, "samples", late)
    with pytest.raises(LeakageError):
        prepare(synthetic(), root)
    assert contents_of(root) == []


def test_a_root_that_cannot_be_written_to_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"data\.root=.*cannot be written"):
        prepare(synthetic(), tmp_path / "file" / "stores")


def test_progress_rises_to_the_whole(root: Path) -> None:
    told: list[float] = []
    prepare(synthetic(), root, lambda step, share: told.append(share))
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_bad_rows_are_told_each_time_the_store_is_used(
    tmp_path: Path, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = user_behavior(write_rows(tmp_path / "log.csv", [*ANCHOR, *OTHER, "1,2"]), max_bad_fraction=0.5)
    for _ in range(2):
        caplog.clear()
        prepare(source, root)
        assert (
            "8 rows read; dropped: 1 cut line (log.csv, line 8, column 'category': empty); corrected: none"
            in caplog.text
        )


def test_a_moved_store_still_opens(root: Path, tmp_path: Path) -> None:
    store = prepare(synthetic(), root)
    moved = shutil.move(root, tmp_path / "moved")
    again = prepare(synthetic(), moved)
    assert np.array_equal(again.time, store.time)


@pytest.mark.parametrize("target", ["os.system", "mdaf.errors.DataError", "mdaf.data.preparing.prepare.prepare"])
def test_a_target_that_is_no_source_of_this_package_is_refused(root: Path, target: str) -> None:
    with pytest.raises(DataError, match=target):
        prepare_config({"_target_": target, "root": str(root)})
    assert not root.exists()
