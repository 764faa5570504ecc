"""A journal keeps whole lines alone, whatever became of a disk or of a writer in the midst of one."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import optuna
import pytest

from mdaf.sweeper.storage import journal, retrying
from mdaf.sweeper.storage.opening import open_storage
from mdaf.sweeper.storage.retrying import StorageAwayError


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> optuna.Study:
    monkeypatch.setattr(retrying, "FIRST_PAUSE_SECONDS", 0.005)
    monkeypatch.setattr(retrying, "LONGEST_PAUSE_SECONDS", 0.01)
    return optuna.create_study(storage=open_storage(f"journal:///{tmp_path}/studies.log", create=True), study_name="s")


def reread(tmp_path: Path) -> optuna.Study:
    storage = open_storage(f"journal:///{tmp_path}/studies.log", create=False)
    return optuna.load_study(study_name="s", storage=storage)


def test_half_a_line_of_a_writer_that_was_killed_is_cut_off_by_the_next(study: optuna.Study, tmp_path: Path) -> None:
    trial = study.ask()
    with (tmp_path / "studies.log").open("a") as file:
        file.write('{"op_code": 8, "worker_id": "x", "trial_')
    trial.set_user_attr("a", 1)
    study.tell(trial, 0.5)
    assert [(t.user_attrs, t.value) for t in reread(tmp_path).trials] == [({"a": 1}, 0.5)]


def test_a_disk_that_is_full_for_a_while_is_waited_for_and_nothing_is_written_twice(
    study: optuna.Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    synced, full = os.fsync, list[int]()

    def sync(descriptor: int) -> None:
        if len(full) < 3:
            full.append(1)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        synced(descriptor)

    monkeypatch.setattr(journal.os, "fsync", sync)
    study.ask()
    assert "No space left on device" in caplog.text
    assert len(reread(tmp_path).trials) == 1


def test_a_disk_that_stays_full_leaves_whole_lines(
    study: optuna.Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sync(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = (tmp_path / "studies.log").read_bytes()
    monkeypatch.setattr(journal.os, "fsync", sync)
    monkeypatch.setattr(retrying, "RETRY_SECONDS", 0.05)
    with pytest.raises(StorageAwayError, match="No space left"):
        study.ask()
    assert (tmp_path / "studies.log").read_bytes() == before
