"""Bad conditions of a run, injected: each has a clear message, and nothing that was finished is lost."""

from __future__ import annotations

import errno
import logging
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from mdaf.messages import logs
from mdaf.messages.logs import MaskedRecord
from mdaf.messages.secrets import masked_text
from mdaf.processes.interruption import EXIT_RESUMABLE
from mdaf.sweeper.job.job import Job
from mdaf.sweeper.job.recorder import Recorder
from mdaf.sweeper.runs import lock
from mdaf.sweeper.runs.checkpoint import LAST, DamagedError, Position, Saved, read
from mdaf.sweeper.runs.folder import RunFolder
from mdaf.sweeper.runs.lock import LockedError, locked
from mdaf.sweeper.training.stepping.step import Stepper
from tests.sweeper.inside import assert_same_run, run

TYPED = ("training.epochs=3", "training.train_sample=200")
EVERY_EPOCH = "training.checkpoint_seconds=null"
SECRET = "hunter2"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory whose run ``whole`` nothing disturbed."""
    folder = tmp_path_factory.mktemp("work")
    assert run(folder, *TYPED, "hydra.run.dir=whole") == 0
    return folder


@pytest.fixture
def complaint(capsys: pytest.CaptureFixture[str]) -> Any:
    """Returns the one line that was said, and makes sure that it was one."""

    def line() -> str:
        said = capsys.readouterr().err
        [found] = [line for line in said.splitlines() if line.startswith("error: ")]
        assert "Traceback" not in said
        return found

    return line


# ---- disks


@contextmanager
def full_disk(room: int = 4096) -> Iterator[None]:
    """Within it no file can grow beyond ``room``: the system itself refuses to write."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_is_full_within_an_epoch_costs_that_state_only(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save_of = Recorder.save

    def save(self: Recorder, position: Position, *rest: Any) -> None:
        with full_disk():
            save_of(self, position, *rest)

    monkeypatch.setattr(Recorder, "save", save)
    assert run(work, *TYPED, "training.checkpoint_seconds=0", "hydra.run.dir=full") == 0
    assert "last.pt cannot be written: File too large" in capsys.readouterr().err
    assert_same_run(work / "full", work / "whole")


def test_a_disk_that_is_full_at_an_epochs_end_ends_the_run_and_it_goes_on_from_the_state_before(
    work: Path, monkeypatch: pytest.MonkeyPatch, complaint: Any
) -> None:
    save_of = RunFolder.save

    def save(self: RunFolder, state: Saved, *, is_best: bool = False) -> None:
        if state.position == Position(3, 0):
            with full_disk():
                save_of(self, state)
        save_of(self, state, is_best=is_best)

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "save", save)
        assert run(work, *TYPED, EVERY_EPOCH, "hydra.run.dir=filled") == EXIT_RESUMABLE
    assert complaint().endswith(
        "last.pt cannot be written: File too large; when that is mended, the same command with resume=auto goes on"
    )
    assert read(work / "filled" / LAST).position == Position(2, 0)
    assert not [path.name for path in (work / "filled").iterdir() if path.name.startswith((".last", ".best"))]
    assert "FolderError" in (work / "filled/train.log").read_text()
    assert run(work, *TYPED, "hydra.run.dir=filled", "resume=auto") == 0
    assert_same_run(work / "filled", work / "whole")


def test_a_disk_that_is_full_before_the_run_begins_is_one_line_and_the_same_command_runs(
    work: Path, complaint: Any
) -> None:
    typed = (*TYPED, "hydra.run.dir=early", "resume=auto")
    with full_disk(200):  # Hydra writes the config
        assert run(work, *typed) == 1
    assert complaint() == "error: a file cannot be written: File too large; make room, then type the same command again"
    assert run(work, *typed) == 0
    assert_same_run(work / "early", work / "whole")


def test_a_folder_that_cannot_be_made_is_one_line(work: Path, complaint: Any) -> None:
    (work / "file").touch()
    assert run(work, *TYPED, "hydra.run.dir=file/run") == 1
    assert "file/run: Not a directory; choose another folder" in complaint()


def test_a_grid_whose_folder_cannot_be_made_is_one_line(
    work: Path, complaint: Any, recwarn: pytest.WarningsRecorder
) -> None:
    (work / "file").touch()
    assert run(work, "-m", *TYPED, "seed=1,2", "hydra.sweep.dir=file/grid") == 1
    assert "file/grid: Not a directory; choose another folder" in complaint()
    assert not [warning for warning in recwarn if "RunTable" in str(warning.message)]


def test_a_read_only_folder_is_one_line_before_any_work(
    work: Path, monkeypatch: pytest.MonkeyPatch, complaint: Any
) -> None:
    open_file = os.open

    def refuse(path: Any, *rest: Any, **named: Any) -> int:
        if str(path).endswith(lock.NAME):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return open_file(path, *rest, **named)

    monkeypatch.setattr(os, "open", refuse)
    assert run(work, *TYPED, "hydra.run.dir=readonly") == 1
    assert "Read-only file system; choose another folder" in complaint()
    assert not (work / "readonly/metrics.csv").exists()


# ---- one folder, two processes


def test_a_second_process_in_a_folder_is_refused_and_changes_nothing(work: Path, complaint: Any) -> None:
    before = (work / "whole/metrics.csv").read_bytes()
    with locked(work / "whole"):
        assert run(work, *TYPED, "hydra.run.dir=whole", "resume=auto") == 2
        assert f":{os.getpid()}:" in (said := complaint())
        assert "another process works in this folder" in said
    assert (work / "whole/metrics.csv").read_bytes() == before


@pytest.mark.parametrize(
    "where", [["hydra.run.dir=whole"], ["-m", "hydra.sweep.dir=.", "hydra.sweep.subdir=whole", "seed=99"]]
)
def test_a_command_that_is_refused_writes_no_config_over_that_of_the_run(
    work: Path, complaint: Any, where: list[str]
) -> None:
    saved = {file: file.read_bytes() for file in (work / "whole/.hydra").iterdir()}
    with locked(work / "whole"):
        assert run(work, *TYPED, *where) == 2
    assert "another process works in this folder" in complaint()
    assert {file: file.read_bytes() for file in (work / "whole/.hydra").iterdir()} == saved


def test_a_run_over_whose_config_another_process_wrote_ends_with_its_own(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = {}

    def another(moment: str) -> None:  # who is refused after Hydra wrote
        for name in ("config.yaml", "overrides.yaml"):
            file = work / "own/.hydra" / name
            saved[moment, name] = file.read_bytes()
            file.write_text("another's")

    hold, finish_job = locked, Job.finish

    @contextmanager
    def meanwhile(folder: Path) -> Iterator[None]:
        another("before it has the lock")
        with hold(folder):
            yield

    def written(self: Job) -> Any:
        another("while it works")
        return finish_job(self)

    monkeypatch.setattr("mdaf.sweeper.job.job.locked", meanwhile)
    monkeypatch.setattr(Job, "finish", written)
    assert run(work, *TYPED, "model.without=[]", "hydra.run.dir=own") == 0  # typed, so that nothing is decided
    for moment, name in saved:
        assert (work / "own/.hydra" / name).read_bytes() == saved["before it has the lock", name], moment


def test_the_lock_of_a_process_that_died_is_none(tmp_path: Path) -> None:
    (tmp_path / lock.NAME).write_text("host:1:1")  # what is left is a file that nobody holds
    with locked(tmp_path), pytest.raises(LockedError), locked(tmp_path):
        pytest.fail("two at once")
    assert list(tmp_path.iterdir()) == []


# ---- the run itself


def test_a_loss_that_is_no_number_is_one_line_with_what_to_do_and_its_traceback_is_in_the_log(
    work: Path, complaint: Any
) -> None:
    sick = ["training.learning_rate=1e30", "training.grad_clip_norm=null", "hydra.run.dir=diverged"]
    assert run(work, *TYPED, *sick) == 1
    assert "lower training.learning_rate or set training.grad_clip_norm" in complaint()
    assert "Traceback (most recent call last)" in (work / "diverged/train.log").read_text()
    assert not (work / "diverged/result.json").exists()


def test_running_out_of_memory_is_one_line_and_the_run_goes_on_with_less(
    work: Path, monkeypatch: pytest.MonkeyPatch, complaint: Any
) -> None:
    def fail(self: Stepper, chosen: torch.Tensor, number: int, longest: int) -> Any:
        raise RuntimeError("CUDA error: out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(Stepper, "step", fail)
        assert run(work, *TYPED, "hydra.run.dir=large") == 1
    assert "out of memory; halve device.micro_batch" in complaint()
    assert run(work, *TYPED, "hydra.run.dir=large", "resume=auto", "device.micro_batch=50") == 0


def test_a_bug_shows_its_traceback_and_keeps_it_in_the_log(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Stepper, chosen: torch.Tensor, number: int, longest: int) -> Any:
        raise ZeroDivisionError("at mysql://me:hunter2@host/db")

    monkeypatch.setattr(Stepper, "step", fail)
    with pytest.raises(ZeroDivisionError):
        run(work, *TYPED, "hydra.run.dir=bug")
    log = (work / "bug/train.log").read_text()
    assert "ZeroDivisionError: at mysql://me:***@host/db" in log


def test_a_result_that_cannot_be_written_loses_no_epoch(
    work: Path, monkeypatch: pytest.MonkeyPatch, complaint: Any
) -> None:
    def refuse(self: RunFolder, content: Any) -> None:
        with self._explained("result.json"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "write_result", refuse)
        assert run(work, *TYPED, "hydra.run.dir=unsaid") == EXIT_RESUMABLE
    assert "result.json cannot be written: No space left on device" in complaint()
    with monkeypatch.context() as patch:
        patch.setattr(Stepper, "step", lambda *_: pytest.fail("a finished epoch is repeated"))
        assert run(work, *TYPED, "hydra.run.dir=unsaid", "resume=auto") == 0
    assert_same_run(work / "unsaid", work / "whole")


# ---- what is read, and what is shown


def test_a_checkpoint_that_names_code_is_refused_and_runs_none(tmp_path: Path) -> None:
    class Code:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save({"weights": Code()}, tmp_path / LAST)
    with pytest.raises(DamagedError, match="found no whole checkpoint"):
        read(tmp_path / LAST)
    assert not (tmp_path / "ran").exists()


def test_no_file_and_no_line_of_a_run_shows_the_password_of_its_storage(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = f"sweep.storage=postgresql+psycopg://me:{SECRET}@host/studies"
    typed = ["training.epochs=1", "training.train_sample=200", storage]
    assert run(work, *typed, "hydra.run.dir=secret") == 0
    assert run(work, "-m", *typed, "hydra.sweep.dir=secrets") == 0
    said = capsys.readouterr()
    files = [path for name in ("secret", "secrets") for path in (work / name).rglob("*") if path.is_file()]
    assert {"multirun.yaml", "config.yaml", "overrides.yaml", "train.log"} <= {path.name for path in files}
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]
    assert SECRET not in said.out + said.err


def test_what_hydra_says_of_a_job_that_failed_shows_no_password(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(cfg: Any) -> float:
        raise ZeroDivisionError

    monkeypatch.setattr("mdaf.sweeper.job.run.run", fail)
    storage = f"sweep.storage=postgresql+psycopg://me:{SECRET}@host/studies"
    for typed in (["hydra.run.dir=told"], ["-m", "hydra.sweep.dir=all-told"]):
        with pytest.raises(ZeroDivisionError):
            run(work, storage, *typed)
        said = capsys.readouterr().err
        assert "Error executing job with overrides" in said
        assert ":***@host/studies" in said
        assert SECRET not in said


def test_the_traceback_of_a_bug_shows_no_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # put back at the end
    logs.set_up()
    try:
        raise ValueError(f"no route to mysql://me:{SECRET}@host/db")
    except ValueError as error:
        sys.excepthook(type(error), error, error.__traceback__)
    said = capsys.readouterr().err
    assert said.startswith("Traceback (most recent call last)")
    assert said.endswith("ValueError: no route to mysql://me:***@host/db\n")


def test_a_record_is_masked_with_its_arguments_and_its_traceback() -> None:
    try:
        raise ValueError("no route to mysql://me:hunter2@host/db")
    except ValueError as error:
        raised = (type(error), error, error.__traceback__)
    record = MaskedRecord("name", logging.ERROR, "file", 1, "%s failed", ("mysql://me:hunter2@host/db",), raised)
    text = logging.Formatter("%(message)s").format(record)
    assert SECRET not in text
    assert text.startswith("mysql://me:***@host/db failed")
    assert text.endswith("ValueError: no route to mysql://me:***@host/db")


def test_an_override_as_hydra_writes_it_is_masked_too() -> None:
    written = r"sweep.storage=postgresql+psycopg\://me\:hunter2@host/db?password\=hunter2&x=1"
    assert masked_text(written) == r"sweep.storage=postgresql+psycopg\://me\:***@host/db?password\=***&x=1"
