from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from mdaf.data.reading import file_hashes
from mdaf.data.reading.file_hashes import NAME, FileHashes
from mdaf.errors import DataError


def settled(path: Path, content: bytes, age: float) -> Path:
    """A file that was last changed ``age`` seconds ago."""
    path.write_bytes(content)
    then = path.stat().st_mtime - age
    os.utime(path, (then, then))
    return path


@pytest.fixture
def hashings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One element for each file whose content is hashed."""
    begun: list[int] = []
    blake2b = hashlib.blake2b

    class Counted:
        def __init__(self, **options: int) -> None:
            self._inner = blake2b(**options)
            self._new = True

        def update(self, block: bytes) -> None:
            if self._new:
                begun.append(1)
            self._new = False
            self._inner.update(block)

        def hexdigest(self) -> str:
            return self._inner.hexdigest()

    monkeypatch.setattr(hashlib, "blake2b", Counted)
    return begun


@pytest.fixture(autouse=True)
def small_files_count_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_hashes, "REMEMBERED_BYTES", 1)
    monkeypatch.setattr(file_hashes, "_known", {})


def another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_hashes, "_known", {})


def test_the_hash_is_that_of_the_content(tmp_path: Path) -> None:
    path = settled(tmp_path / "log.csv", b"1,2", age=60)
    [found] = FileHashes().of([path])
    assert found == {"bytes": 3, "blake2b": hashlib.blake2b(b"1,2", digest_size=16).hexdigest()}


def test_a_file_that_does_not_change_is_read_once(tmp_path: Path, hashings: list[int]) -> None:
    path = settled(tmp_path / "log.csv", b"1,2", age=60)
    assert FileHashes().of([path]) == FileHashes().of([path])
    assert len(hashings) == 1


def test_another_process_does_not_read_it_again(
    tmp_path: Path, hashings: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [settled(tmp_path / name, name.encode(), age=60) for name in ("one.csv", "two.csv")]
    before = FileHashes(tmp_path / "stores").of(files)
    another_process(monkeypatch)
    assert FileHashes(tmp_path / "stores").of(files) == before
    assert len(hashings) == 2


def test_a_small_file_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_hashes, "REMEMBERED_BYTES", 4)
    FileHashes(tmp_path / "stores").of([settled(tmp_path / "log.csv", b"1,2", age=60)])
    assert not (tmp_path / "stores").exists()


def test_a_file_that_has_changed_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, root = settled(tmp_path / "log.csv", b"1,2", age=60), tmp_path / "stores"
    before = FileHashes(root).of([path])
    assert FileHashes(root).of([settled(path, b"1,3", age=30)]) != before


def test_a_change_that_keeps_size_and_time_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, root = settled(tmp_path / "log.csv", b"1,2", age=60), tmp_path / "stores"
    before, then = FileHashes(root).of([path]), path.stat()
    time.sleep(0.02)  # as long as the system may take to tick: it writes down when it was told the time
    path.write_bytes(b"1,3")
    os.utime(path, ns=(then.st_atime_ns, then.st_mtime_ns))
    assert path.stat().st_mtime_ns == then.st_mtime_ns
    for _ in range(2):
        assert FileHashes(root).of([path]) != before
        another_process(monkeypatch)


def test_a_file_that_was_changed_a_moment_ago_is_always_read(tmp_path: Path, hashings: list[int]) -> None:
    path = settled(tmp_path / "log.csv", b"1,2", age=0)
    assert FileHashes(tmp_path / "stores").of([path]) == FileHashes(tmp_path / "stores").of([path])
    assert len(hashings) == 2


@pytest.mark.parametrize("content", [b"", b"[]", b'{"x": 1}', b"\xff", b"{"])
def test_a_damaged_memory_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    path, root = settled(tmp_path / "log.csv", b"1,2", age=60), tmp_path / "stores"
    before = FileHashes(root).of([path])
    (root / NAME).write_bytes(content)
    another_process(monkeypatch)
    assert FileHashes(root).of([path]) == before
    assert [file.name for file in root.iterdir()] == [NAME]


def test_a_folder_that_takes_no_memory_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "stores").touch()
    assert FileHashes(tmp_path / "stores").of([settled(tmp_path / "log.csv", b"1,2", age=60)])


def test_progress_is_told_over_all_files_by_their_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_hashes, "BLOCK", 2)
    told: list[tuple[str, float]] = []
    files = [settled(tmp_path / "one.csv", b"1234", age=60), settled(tmp_path / "two.csv", b"12", age=60)]
    FileHashes(progress=lambda step, share: told.append((step, round(share, 2)))).of(files)
    assert told == [("hashing one.csv", 0.33), ("hashing one.csv", 0.67), ("hashing two.csv", 1.0)]


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone.csv cannot be read: No such file or directory"):
        FileHashes().of([tmp_path / "gone.csv"])
