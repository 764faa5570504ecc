"""A store that cannot be read now stays as it is; one that is proved to be damaged is prepared again beside it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mdaf.data.preparing import scratch
from mdaf.data.preparing.prepare import prepare
from mdaf.data.store import event_store
from mdaf.data.store.device_store import DeviceStore
from mdaf.data.store.event_store import EventStore
from mdaf.data.store.integrity import verification
from mdaf.data.store.integrity.verification import STAMP
from mdaf.data.store.manifest import MANIFEST
from mdaf.errors import DamagedStoreError, DataError
from tests.data.logs import synthetic
from tests.data.preparing.test_prepare import Watched, contents_of
from tests.data.stores import as_before_checksums, reseal


@pytest.fixture
def copied(synthetic_store: EventStore, root: Path) -> Path:
    """A whole store in a root of its own, to be damaged."""
    return Path(shutil.copytree(synthetic_store.folder, root / synthetic_store.folder.name))


@pytest.fixture
def few_files() -> Iterator[None]:
    """The system lets this process open six files more, and no seventh one."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = max(int(name) for name in os.listdir("/proc/self/fd")) + 6
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, before[1]))
    fillers = []
    with contextlib.suppress(OSError):
        while True:
            fillers.append(os.open(os.devnull, os.O_RDONLY))
    for descriptor in fillers[-6:]:
        os.close(descriptor)
    yield
    for descriptor in fillers[:-6]:
        os.close(descriptor)
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def changed_byte(path: Path) -> None:
    """Another byte in the middle of a file, whose times are put back."""
    then = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    os.utime(path, ns=(then.st_atime_ns, then.st_mtime_ns))


def replaced_text(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def whole_again(folder: Path) -> list[str]:
    """Prepares the store again, and says what lies in its root then."""
    source = Watched(synthetic())
    assert len(prepare(source, folder.parent).samples["train"]) == 700
    assert source.built == 1
    return contents_of(folder.parent)


def fails(code: int) -> Callable[..., Any]:
    def failing(*arguments: Any, **_: Any) -> Any:
        raise OSError(code, os.strerror(code), *map(str, arguments[:1]))

    return failing


def test_too_many_open_files_are_one_line_and_the_store_stays(
    copied: Path, few_files: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_store, "_SMALL", 0)  # each array is mapped, as those of a large store are
    source = Watched(synthetic())
    with pytest.raises(DataError, match=r"cannot be read: Too many open files; raise the limit with ulimit -n"):
        prepare(source, copied.parent)
    assert source.built == 0


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO, errno.ESTALE, errno.ENOMEM])
@pytest.mark.parametrize("where", ["the manifest", "a size", "a checksum", "a map"])
def test_a_store_that_cannot_be_read_for_a_moment_is_one_line_and_stays(
    copied: Path, code: int, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Watched(synthetic())
    with monkeypatch.context() as patch:
        if where == "the manifest":
            patch.setattr(Path, "read_bytes", fails(code))
        elif where == "a size":
            patch.setattr(verification.os, "stat", fails(code))
        elif where == "a checksum":
            patch.setattr(verification, "_crc32", fails(code))
        else:
            patch.setattr(event_store.np, "load", fails(code))
        with pytest.raises(DataError, match=rf"cannot be read: {os.strerror(code)}; nothing was changed"):
            prepare(source, copied.parent)
    prepare(source, copied.parent)
    assert source.built == 0


def test_a_link_to_a_file_that_is_not_there_now_is_no_damage(copied: Path, tmp_path: Path) -> None:
    array = copied / "train.end.npy"
    array.rename(tmp_path / "elsewhere")
    array.symlink_to(tmp_path / "elsewhere")
    source = Watched(synthetic())
    prepare(source, copied.parent)
    (tmp_path / "elsewhere").unlink()
    with pytest.raises(DataError, match=r"train\.end\.npy cannot be read: No such file or directory; nothing was"):
        prepare(source, copied.parent)
    assert source.built == 0


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: changed_byte(folder / "events.item.npy"),
        lambda folder: changed_byte(folder / "train.label.npy"),
        lambda folder: changed_byte(folder / "vocabulary.item.npy"),
        lambda folder: shutil.copyfile(folder / "test.label.npy", folder / "validation.label.npy"),
        lambda folder: (folder / "train.end.npy").write_bytes(b""),
        lambda folder: ((folder / "train.end.npy").unlink(), (folder / "train.end.npy").mkdir()),
        lambda folder: replaced_text(folder / MANIFEST, '"items": 80', '"items": 81'),
    ],
)
def test_a_store_with_any_other_content_is_found_when_it_is_opened_and_prepared_again(
    copied: Path, damage: Callable[[Path], object]
) -> None:
    EventStore.open(copied)
    damage(copied)
    assert whole_again(copied) == [copied.name]


def test_a_bit_that_flipped_without_a_trace_is_found_by_a_deep_look(copied: Path) -> None:
    changed_byte(copied / "events.item.npy")
    states = verification.states_of(copied, json.loads((copied / MANIFEST).read_text())["files"])
    (copied / STAMP).write_text(json.dumps(states))
    EventStore.open(copied)
    with pytest.raises(DamagedStoreError, match=r"events\.item\.npy holds other bytes than were written"):
        EventStore.open(copied, deep=True)


@pytest.mark.parametrize("stamp", ["", "{", "[]", '{"events.time.npy": 3}', "[" * 100_000])
def test_a_damaged_stamp_is_none(copied: Path, stamp: str) -> None:
    (copied / STAMP).write_text(stamp)
    EventStore.open(copied)


def test_content_is_verified_once_where_a_store_lies(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    honest = verification._crc32
    monkeypatch.setattr(verification, "_crc32", lambda path: (read.append(path), honest(path))[1])
    monkeypatch.setattr(verification, "_verified", set())
    files = len(EventStore.open(copied).manifest["files"])
    assert len(read) == files
    monkeypatch.setattr(verification, "_verified", set())
    EventStore.open(copied)
    assert len(read) == files
    os.utime(copied / "events.time.npy")
    EventStore.open(copied)
    assert len(read) == files + 1


def test_a_store_that_cannot_be_written_to_opens_and_is_verified_once_a_process(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (copied / STAMP).unlink()
    monkeypatch.setattr(verification.tempfile, "mkstemp", fails(errno.EROFS))
    monkeypatch.setattr(scratch.tempfile, "mkdtemp", fails(errno.EROFS))
    assert len(prepare(synthetic(), copied.parent).samples["train"]) == 700
    monkeypatch.setattr(verification, "_crc32", fails(errno.EIO))
    assert len(prepare(synthetic(), copied.parent).samples["train"]) == 700


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("events.item", -1),
        ("events.category", 10_000),
        ("train.static.item", 10_000),
        ("test.static.user", 0),
        ("validation.user", 60),
        ("train.user", -1),
        ("train.end", 1 << 40),
        ("user_offsets", -5),
        ("test.label", 7),
    ],
)
def test_a_code_or_position_that_names_nothing_is_found_in_a_store_without_checksums(
    copied: Path, name: str, value: int
) -> None:
    as_before_checksums(copied)
    array = np.load(copied / f"{name}.npy")
    array[len(array) // 2] = value
    np.save(copied / f"{name}.npy", array)
    with pytest.raises(DamagedStoreError, match=rf"{name}\.npy holds .*: the store is damaged; delete the folder"):
        EventStore.open(copied)
    reseal(copied)  # written so by whatever bug: then the deep look finds it
    EventStore.open(copied)
    with pytest.raises(DamagedStoreError, match=rf"{name}\.npy holds"):
        EventStore.open(copied, deep=True)


def test_no_negative_code_reaches_an_embedding(synthetic_store: EventStore) -> None:
    spoiled = EventStore(synthetic_store.folder, synthetic_store.manifest)
    spoiled.events = {name: -np.array(codes) for name, codes in spoiled.events.items()}
    with pytest.raises(DataError, match="holds the code -"):
        DeviceStore(spoiled, "cpu")


def test_a_store_without_checksums_is_used_and_said_to_be_unverified(
    copied: Path, caplog: pytest.LogCaptureFixture
) -> None:
    as_before_checksums(copied)
    source = Watched(synthetic())
    with caplog.at_level(logging.INFO):
        prepare(source, copied.parent)
    assert source.built == 0
    assert "was prepared before checksums were kept" in caplog.text


def test_a_manifest_with_any_entry_missing_or_of_another_type_is_one_line(copied: Path) -> None:
    as_before_checksums(copied)
    manifest = json.loads((copied / MANIFEST).read_text())
    needed = ("format", "files", "schema", "boundaries", "counts", "defects", "data_hash")
    inner = [("schema", key) for key in manifest["schema"]] + [("files", "events.time.npy"), ("files", "../x.npy")]
    inner += [("counts", "samples"), ("boundaries", "test"), ("defects", "rows"), ("defects", "dropped")]
    for path in [(key,) for key in needed] + inner:
        for value in (None, [], {"x": "y"}, "\x1b[31m", -1, 1.5, float("inf"), True, [[1]]):
            spoiled = json.loads(json.dumps(manifest))
            place = spoiled if len(path) == 1 else spoiled[path[0]]
            if place.get(path[-1]) == value:
                continue
            place[path[-1]] = value
            (copied / MANIFEST).write_text(json.dumps(spoiled))
            said = refusal_of(copied)
            assert said is None or ("\n" not in said and str(copied) in said)
            assert said or value in ([], True, {"x": "y"}) or path[0] == "boundaries", f"{path} = {value!r} passed"


def refusal_of(folder: Path) -> str | None:
    try:
        EventStore.open(folder)
    except DataError as error:
        return str(error)
    return None


def test_the_store_of_other_data_under_this_name_is_replaced(copied: Path, tmp_path: Path) -> None:
    other = prepare(synthetic(seed=1), tmp_path / "others")
    shutil.rmtree(copied)
    shutil.copytree(other.folder, copied)
    assert whole_again(copied) == [copied.name]


def test_who_reads_a_damaged_store_keeps_it_until_the_end(copied: Path) -> None:
    reader = EventStore.open(copied)
    times = np.array(reader.time)
    another_process = os.open(copied, os.O_RDONLY)
    fcntl.flock(another_process, fcntl.LOCK_SH)
    (copied / "train.end.npy").write_bytes(b"")
    kept, now = whole_again(copied)
    assert now == copied.name
    assert kept.startswith(f".{copied.name}-replaced-")
    assert np.array_equal(np.load(copied.parent / kept / "events.time.npy"), times)
    assert np.array_equal(reader.time, times)
    prepare(synthetic(), copied.parent)
    assert contents_of(copied.parent) == [kept, now]
    os.close(another_process)
    del reader
    prepare(synthetic(), copied.parent)
    assert contents_of(copied.parent) == [now]


def test_a_damaged_store_whose_readers_cannot_be_seen_is_kept(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "is_local", lambda folder: False)
    (copied / "train.end.npy").write_bytes(b"")
    kept, _ = whole_again(copied)
    prepare(synthetic(), copied.parent)
    assert kept in contents_of(copied.parent)


def test_a_name_has_a_store_at_every_moment_while_a_damaged_one_is_replaced(copied: Path) -> None:
    reads, over = 0, False

    def look() -> None:
        nonlocal reads
        while not over:
            assert (copied / MANIFEST).exists()
            reads += 1

    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(look)
        for _ in range(3):
            changed_byte(copied / "train.end.npy")
            whole_again(copied)
        over = True
        looking.result()
    assert reads


def test_a_store_behind_a_link_is_read_and_only_the_link_is_replaced(copied: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    copied.rename(elsewhere)
    copied.symlink_to(elsewhere)
    source = Watched(synthetic())
    prepare(source, copied.parent)
    assert source.built == 0
    changed_byte(elsewhere / "train.end.npy")
    assert whole_again(copied) == [copied.name]
    assert not copied.is_symlink()
    assert (elsewhere / MANIFEST).is_file()


def test_a_link_to_a_store_that_is_not_there_is_one_line(copied: Path) -> None:
    shutil.rmtree(copied)
    copied.symlink_to("/nowhere/at/all")
    with pytest.raises(DataError, match=r"is a link to /nowhere/at/all, which is not there"):
        prepare(synthetic(), copied.parent)


@pytest.mark.parametrize("memory_fraction", [1.0, 0.0])
def test_a_file_that_is_cut_under_its_reader_is_one_line(copied: Path, memory_fraction: float) -> None:
    reader = EventStore.open(copied)
    gathered = DeviceStore(reader, "cpu", memory_fraction) if not memory_fraction else None
    for name in ("train.static.user", "train.time", "train.end"):
        os.truncate(copied / f"{name}.npy", 8)
    with pytest.raises(DataError, match=r"has been cut to 8 bytes while it was read, expected"):
        (gathered or DeviceStore(reader, "cpu")).gather("train", torch.zeros((1, 1), dtype=torch.int64))
