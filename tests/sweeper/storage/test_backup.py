"""Copies of a study database are whole, also while it is written to; a file that may only be read can be asked."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.study import Study
from optuna.trial import create_trial
from typer.testing import CliRunner

from mdaf.sweeper.storage.backup import back_up
from mdaf.sweeper.storage.opening import StorageError, open_storage
from mdaf.sweeper.storage.sqlite_file import settle
from mdaf.sweeper.study.cli import app
from tests.processes import CONTEXT
from tests.sweeper.sphere import sweep


def study_with(url: str, trials: int = 3) -> Study:
    study = optuna.create_study(storage=open_storage(url, create=True), study_name="s")
    for n in range(trials):
        study.add_trial(create_trial(value=n / 10, user_attrs={"n": n}))
    return study


def trials_in(url: str) -> list[int]:
    storage = open_storage(url, create=False, read_only=True)
    return [trial.user_attrs["n"] for trial in optuna.load_study(study_name="s", storage=storage).trials]


# ---- copies


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_a_backup_taken_while_a_sweep_writes_holds_all_that_was_recorded(tmp_path: Path, kind: str) -> None:
    study = study_with(f"{kind}:///{tmp_path}/studies")
    trial = study.ask()  # its process goes on while the copy is taken
    made = back_up(f"{kind}:///{tmp_path}/studies", tmp_path / "copies" / "back")
    trial.set_user_attr("n", 3)
    assert (made.studies, made.trials) == (1, 4)
    assert [path.name for path in (tmp_path / "copies").iterdir()] == ["back"]
    copied = optuna.load_study(study_name="s", storage=open_storage(f"{kind}:///{made.file}", create=False))
    assert [trial.user_attrs.get("n") for trial in copied.trials] == [0, 1, 2, None]


def test_a_journal_is_copied_to_its_last_whole_line(tmp_path: Path) -> None:
    study_with(f"journal:///{tmp_path}/studies")
    with (tmp_path / "studies").open("a") as file:
        file.write('{"op_code": 4, "wor')
    made = back_up(f"journal:///{tmp_path}/studies", tmp_path / "back")
    assert made.file.read_bytes().endswith(b"}\n")
    assert trials_in(f"journal:///{made.file}") == [0, 1, 2]


def test_a_target_with_a_slash_at_its_end_is_a_folder_that_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study_with("sqlite:///studies.db")
    said = CliRunner().invoke(app, ["backup", "backups/", "--storage", "sqlite:///studies.db"])
    assert said.exit_code == 0, said.output
    assert trials_in("sqlite:///backups/studies.db") == [0, 1, 2]


def test_a_backup_overwrites_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/studies.db"
    study_with(url)
    (tmp_path / "back.db").write_text("precious")
    with pytest.raises(StorageError, match="there already"):
        back_up(url, tmp_path / "back.db")
    with pytest.raises(StorageError, match="there already"):
        back_up(url, tmp_path)
    assert (tmp_path / "back.db").read_text() == "precious"


def test_the_command_says_what_it_copied_and_a_mistake_is_one_line(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/studies.db"
    study_with(url)
    (tmp_path / "folder").mkdir()
    done = CliRunner().invoke(app, ["backup", str(tmp_path / "folder"), "--storage", url])
    assert done.exit_code == 0
    assert f"1 studies, 3 trials, copied to {tmp_path}/folder/studies.db" in done.output.replace("\n", "")
    assert CliRunner().invoke(app, ["backup", str(tmp_path / "folder"), "--storage", url]).exit_code == 2
    assert trials_in(f"sqlite:///{tmp_path}/folder/studies.db") == [0, 1, 2]


def test_after_a_sweep_a_plain_copy_of_the_file_is_whole(tmp_path: Path) -> None:
    swept = sweep(tmp_path, "hydra.sweeper.n_trials=3")
    (tmp_path / "copy").mkdir()
    shutil.copyfile(tmp_path / "s.db", tmp_path / "copy" / "s.db")
    copied = optuna.load_study(study_name="s", storage=open_storage(f"sqlite:///{tmp_path}/copy/s.db", create=False))
    assert [trial.params for trial in copied.trials] == [trial.params for trial in swept.study.trials]
    assert len(copied.trials) == 3


def test_what_lies_beside_the_file_stays_small(tmp_path: Path) -> None:
    study = study_with(f"sqlite:///{tmp_path}/studies.db")
    trial = study.ask()
    for n in range(80):
        trial.set_user_attr(f"a{n}", "x" * 20_000)
    assert (tmp_path / "studies.db-wal").stat().st_size < 2 * 1024 * 1024
    settle(study._storage._backend)  # type: ignore[attr-defined]
    assert not (tmp_path / "studies.db-wal").exists()
    assert len(study.trials) == 4  # and it can be used further


# ---- files that may only be read


def _use_as_nobody(urls: list[str], scratch: Path) -> None:
    """In a process without the rights of root, which no file's mode holds back: each answers, and takes no sweep."""
    _ask(urls[0])  # what is imported late may lie where only root looks
    tempfile.tempdir = str(scratch)
    if os.getuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.setgid(nobody.pw_gid)
        os.setuid(nobody.pw_uid)
    for url in urls[1:]:
        _ask(url)
        with pytest.raises(StorageError, match="read-only") as error:
            open_storage(url, create=True)
        assert "\n" not in str(error.value)


def _ask(url: str) -> None:
    for command in ("best", "trials"):
        done = CliRunner().invoke(app, [command, "--format", "json", "--storage", url])
        assert done.exit_code == 0, f"{url} {command}: {done.output} {done.exception}"
    assert [row["n"] for row in json.loads(done.output)] == [0, 1, 2]


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that everybody may look into, which pytest's own are not; with a place to write for everybody."""
    with tempfile.TemporaryDirectory(prefix="everybodys-") as name:
        folder = Path(name)
        (folder / "scratch").mkdir()
        folder.chmod(0o755)
        (folder / "scratch").chmod(0o777)
        yield folder


@pytest.mark.slow
def test_a_database_that_may_only_be_read_answers_and_a_sweep_on_it_is_one_line(folder: Path) -> None:
    written = study_with(f"sqlite:///{folder}/written/s.db")  # by somebody, at this moment
    shutil.copytree(folder / "written", folder / "killed")  # what a killed writer left
    (folder / "killed" / "s.db-shm").unlink()
    shutil.copytree(folder / "written", folder / "kept")
    settle(
        optuna.load_study(study_name="s", storage=open_storage(f"sqlite:///{folder}/kept/s.db", create=False))._storage
    )
    study_with(f"journal:///{folder}/journal/s.db")
    shutil.copytree(folder / "kept", folder / "own")
    places = [folder / name for name in ("written", "killed", "kept", "journal")]
    for place in places:
        for path in place.iterdir():
            path.chmod(0o444)
        place.chmod(0o555)
    urls = [f"{'journal' if place.name == 'journal' else 'sqlite'}:///{place}/s.db" for place in places]
    process = CONTEXT.Process(target=_use_as_nobody, args=([f"sqlite:///{folder}/own/s.db", *urls], folder / "scratch"))
    process.start()
    process.join(200)
    for place in places:
        place.chmod(0o755)
    assert process.exitcode == 0
    assert [file.name for file in (folder / "kept").iterdir()] == ["s.db"]
    assert len(written.trials) == 3
