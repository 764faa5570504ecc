"""A raw file that changes while it is prepared: its rows never come under the name of another content."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from mdaf.data.preparing.prepare import prepare
from mdaf.data.preparing.source import Contents, Progress, Source
from mdaf.data.reading import file_hashes
from mdaf.data.reading.file_hashes import NAME, FileHashes
from mdaf.data.store.writer import StoreWriter
from mdaf.errors import DataError
from tests.data.faults.test_damaged_files import SOURCES
from tests.data.logs import ANCHOR, OTHER, user_behavior, write_rows

HOUR = 3600


@dataclass
class Meddled:
    """A source during whose preparation something happens: once it is hashed, or once it is read."""

    source: Source
    once_hashed: Callable[[], object] = field(default=lambda: None)
    once_read: Callable[[], object] = field(default=lambda: None)

    @property
    def name(self) -> str:
        return self.source.name

    def fingerprint(self, hashes: FileHashes) -> dict[str, Any]:
        found = self.source.fingerprint(hashes)
        self.once_hashed()
        return found

    def build(self, writer: StoreWriter, progress: Progress) -> Contents:
        contents = self.source.build(writer, progress)
        self.once_read()
        return contents


def aged(path: Path) -> Path:
    """The file as if nobody had written to it for an hour."""
    then = path.stat().st_mtime - HOUR
    os.utime(path, (then, then))
    return path


def other_content(path: Path) -> bytes:
    """Usable content of the same kind: its last row comes twice."""
    if path.suffix != ".parquet":
        content = path.read_bytes()
        return content + content.splitlines(keepends=True)[-1]
    rows = pl.read_parquet(path)
    beside = path.with_name("other")
    pl.concat([rows, rows.tail(1)]).write_parquet(beside)
    content = beside.read_bytes()
    beside.unlink()
    return content


def replaced(path: Path, content: bytes) -> None:
    beside = path.with_name("beside")
    beside.write_bytes(content)
    beside.replace(path)


@pytest.mark.parametrize("name", SOURCES)
def test_a_file_that_is_replaced_between_hashing_and_reading_is_refused(name: str, tmp_path: Path, root: Path) -> None:
    source, path = SOURCES[name](tmp_path)
    aged(path)
    with pytest.raises(DataError, match=rf"{path.name} changed while it was read: expected .*; wait until"):
        prepare(Meddled(source, once_hashed=lambda: replaced(path, other_content(path))), root)
    assert not list(root.glob("*-*"))


@pytest.mark.parametrize("name", ["user_behavior", "event_log parquet"])
def test_a_file_that_is_put_back_before_anyone_looks_is_refused_too(name: str, tmp_path: Path, root: Path) -> None:
    source, path = SOURCES[name](tmp_path)
    before, other = aged(path).read_bytes(), other_content(path)
    meddled = Meddled(source, lambda: replaced(path, other), lambda: replaced(path, before))
    with pytest.raises(DataError, match="changed while it was read"):
        prepare(meddled, root)
    assert not list(root.glob("*-*"))


def test_a_file_written_to_in_place_with_its_size_and_time_put_back_is_refused(tmp_path: Path, root: Path) -> None:
    path = aged(write_rows(tmp_path / "log.csv", [*ANCHOR, *OTHER]))
    then = path.stat()

    def meddle() -> None:
        path.write_text(path.read_text().replace("901,95", "901,96"))
        os.utime(path, ns=(then.st_atime_ns, then.st_mtime_ns))

    with pytest.raises(DataError, match="changed while it was read"):
        prepare(Meddled(user_behavior(path), once_hashed=meddle), root)


def test_a_file_that_is_gone_or_half_another_one_is_refused_for_having_changed(tmp_path: Path, root: Path) -> None:
    path = aged(write_rows(tmp_path / "log.csv", [*ANCHOR, *OTHER]))
    with pytest.raises(DataError, match=r"log.csv cannot be read: No such file"):
        prepare(Meddled(user_behavior(path), once_hashed=path.unlink), root)
    write_rows(path, [*ANCHOR, *OTHER])
    junk = "not a log\n" * 40
    with pytest.raises(DataError, match="changed while it was read"):
        prepare(Meddled(user_behavior(path), once_hashed=lambda: path.write_text(junk)), root)


def test_a_file_that_is_only_touched_while_it_is_read_is_prepared(tmp_path: Path, root: Path) -> None:
    path = aged(write_rows(tmp_path / "log.csv", [*ANCHOR, *OTHER]))
    assert prepare(Meddled(user_behavior(path), once_hashed=path.touch), root).defects.rows == len([*ANCHOR, *OTHER])


def test_a_file_that_grows_while_it_is_hashed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = aged(write_rows(tmp_path / "log.csv", [*ANCHOR, *OTHER]))
    whole = file_hashes._read

    def growing(file: Path, tell: Callable[[int], None]) -> str:
        hashed = whole(file, tell)
        with file.open("a") as log:
            log.write("1,2,3,pv,1511539200\n")
        return hashed

    monkeypatch.setattr(file_hashes, "_read", growing)
    with pytest.raises(DataError, match="changed while it was read"):
        FileHashes().of([path])


def test_a_wrong_memory_of_a_hash_is_found_out_and_forgotten(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = aged(write_rows(tmp_path / "log.csv", [*ANCHOR, *OTHER]))
    monkeypatch.setattr(file_hashes, "REMEMBERED_BYTES", 1)
    FileHashes(root).of([path])
    remembered = (root / NAME).read_text()
    hashed = remembered.rpartition(": ")[2].strip('"\n}')
    (root / NAME).write_text(remembered.replace(hashed, hashed[::-1]))
    monkeypatch.setattr(file_hashes, "_known", {})
    with pytest.raises(DataError, match=r"is not what was remembered of it .* type the same command again"):
        prepare(user_behavior(path), root)
    assert prepare(user_behavior(path), root).manifest["inputs"][0]["blake2b"] == hashed
