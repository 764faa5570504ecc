"""What is being made lies aside, and is gone with its maker, or with the next one that comes."""

from __future__ import annotations

import fcntl
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mdaf.data.__main__ import main
from mdaf.data.preparing import scratch
from mdaf.data.preparing.prepare import prepare
from mdaf.data.preparing.source import Source
from mdaf.errors import DataError
from tests.data.logs import ANCHOR, OTHER, synthetic, user_behavior, write_rows
from tests.data.preparing.test_prepare import contents_of

NAME = "synthetic-0123456789ab"
KILLED = """
import os, signal, sys
from pathlib import Path
from mdaf.data.preparing.scratch import scratch
with scratch(Path(sys.argv[1]), sys.argv[2]) as folder:
    (folder / "half.npy").write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def killed_while_it_writes(parent: Path, name: str) -> Path:
    """What a process leaves that is killed without a word."""
    ended = subprocess.run([sys.executable, "-c", KILLED, str(parent), name], check=False, timeout=60)
    assert ended.returncode == -9
    [left] = parent.iterdir()
    assert (left / "half.npy").is_file()
    return left


def test_what_a_killed_process_left_is_gone_with_the_next_prepare(root: Path) -> None:
    killed_while_it_writes(root, NAME)
    store = prepare(synthetic(), root)
    assert contents_of(root) == [store.folder.name]


def test_what_a_killed_process_left_is_gone_too_where_the_store_is_there_already(root: Path, tmp_path: Path) -> None:
    store = prepare(synthetic(), root)
    killed_while_it_writes(tmp_path / "elsewhere", NAME).rename(root / f".{NAME}-{scratch.machine()}-abcd1234")
    prepare(synthetic(), root)
    assert contents_of(root) == [store.folder.name]


def test_a_log_that_is_generated_again_after_a_kill_leaves_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    killed_while_it_writes(tmp_path / "log", "generated")
    assert main(["generate", "--to", str(tmp_path / "log"), "data=synthetic_tiny"]) == 0
    assert contents_of(tmp_path / "log") == ["events.csv", "impressions.csv"]
    before = (tmp_path / "log" / "events.csv").read_bytes()
    with pytest.raises(SystemExit, match="2"):
        main(["generate", "--to", str(tmp_path / "log"), "data=synthetic_tiny", "data.seed=1"])
    assert "events.csv is there already; give another folder, or delete it" in capsys.readouterr().err
    assert (tmp_path / "log" / "events.csv").read_bytes() == before


def test_what_a_living_process_writes_is_left_alone_however_old_it_is(root: Path) -> None:
    folder = root / f".{NAME}-{scratch.machine()}-abcd1234"
    folder.mkdir(parents=True)
    os.utime(folder, (0, 0))
    lock = os.open(folder, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_SH)
    scratch.sweep(root)
    assert folder.is_dir()
    os.close(lock)
    scratch.sweep(root)
    assert not folder.exists()


@pytest.mark.parametrize("name", [f".{NAME}-00000000-abcd1234", f".{NAME}-abcd1234"])
def test_what_another_machine_writes_to_a_shared_disk_is_left_alone_for_a_day(
    root: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch, "is_local", lambda folder: False)
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "half.npy").write_bytes(b"half")
    scratch.sweep(root)
    assert folder.is_dir()
    yesterday = folder.stat().st_mtime - scratch.ABANDONED_SECONDS - 1
    os.utime(folder, (yesterday, yesterday))
    scratch.sweep(root)
    assert folder.is_dir(), "a file in it has changed since"
    os.utime(folder / "half.npy", (yesterday, yesterday))
    scratch.sweep(root)
    assert not folder.exists()


@pytest.mark.parametrize("name", [".mine", ".hashes.json", ".git", "synthetic-0123456789ab-00000000-abcd1234"])
def test_nothing_of_anyone_else_is_swept(root: Path, name: str) -> None:
    (root / name).mkdir(parents=True)
    os.utime(root / name, (0, 0))
    scratch.sweep(root)
    assert (root / name).is_dir()


@pytest.fixture
def small_disk() -> Iterator[None]:
    """No file may grow beyond four kilobytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _user_behavior(folder: Path) -> Source:
    return user_behavior(write_rows(folder / "log.csv", [*ANCHOR, *OTHER] * 300))


@pytest.mark.parametrize("make", [_user_behavior, lambda folder: synthetic()])
def test_a_disk_that_is_full_is_one_line_with_the_room_that_is_left_and_leaves_nothing(
    make: object, tmp_path: Path, root: Path, request: pytest.FixtureRequest
) -> None:
    source = make(tmp_path)  # type: ignore[operator]
    request.getfixturevalue("small_disk")
    with pytest.raises(DataError, match=r"cannot be written: .*GB are free there, and preparing needs about") as caught:
        prepare(source, root)
    assert "\n" not in str(caught.value)
    assert contents_of(root) == []
