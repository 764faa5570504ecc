from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from data.source import content_hash


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


def test_a_file_that_does_not_change_is_read_once(tmp_path: Path, hashings: list[int]) -> None:
    path = settled(tmp_path / "log.csv", b"1,2", age=60)
    assert content_hash(path) == content_hash(path)
    assert len(hashings) == 1


def test_a_file_that_has_changed_is_read_again(tmp_path: Path) -> None:
    path = settled(tmp_path / "log.csv", b"1,2", age=60)
    before = content_hash(path)
    assert content_hash(settled(path, b"1,3", age=30)) != before


def test_a_file_that_was_changed_a_moment_ago_is_always_read(tmp_path: Path, hashings: list[int]) -> None:
    path = settled(tmp_path / "log.csv", b"1,2", age=0)
    assert content_hash(path) == content_hash(path)
    assert len(hashings) == 2
