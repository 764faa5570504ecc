"""Opening a study database: created once and whole, never by asking, and without showing a password."""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa
from optuna.exceptions import StorageInternalError

from mdaf.sweeper.storage.opening import StorageError, masked, masked_text, open_storage
from mdaf.sweeper.storage.retrying import StorageAwayError, without_waiting
from tests.processes import CONTEXT


@pytest.fixture(autouse=True)
def _quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def _join_the_race(url: str, barrier: object, process: int) -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    barrier.wait(60)  # type: ignore[attr-defined]
    study = optuna.create_study(storage=open_storage(url, create=True), study_name="race", load_if_exists=True)
    for _ in range(3):
        trial = study.ask()
        trial.set_user_attr("process", process)
        study.tell(trial, 0.5)


@pytest.mark.parametrize("start", ["missing", "empty"])
def test_processes_that_race_to_create_one_database_all_get_to_use_it(tmp_path: Path, start: str) -> None:
    file = tmp_path / "runs" / "studies.db"
    if start == "empty":  # then the schema is created in place, and the losers of the race try again
        file.parent.mkdir()
        file.touch()
    barrier = CONTEXT.Barrier(4)
    racers = [CONTEXT.Process(target=_join_the_race, args=(f"sqlite:///{file}", barrier, n)) for n in range(4)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(120)
    assert [racer.exitcode for racer in racers] == [0] * 4
    trials = optuna.load_study(study_name="race", storage=open_storage(f"sqlite:///{file}", create=False)).trials
    assert sorted(trial.user_attrs["process"] for trial in trials) == sorted([0, 1, 2, 3] * 3)
    assert [trial.number for trial in trials] == list(range(12))
    assert {found.name for found in file.parent.iterdir()} <= {"studies.db", "studies.db-wal", "studies.db-shm"}


@pytest.mark.parametrize("scheme", ["sqlite", "journal"])
def test_asking_for_a_missing_file_creates_neither_file_nor_folder(tmp_path: Path, scheme: str) -> None:
    with pytest.raises(StorageError, match="there is no such file"):
        open_storage(f"{scheme}:///{tmp_path}/runs/studies.db", create=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("scheme", ["sqlite", "journal"])
def test_creating_makes_the_parent_folders_and_what_is_written_is_found_again(tmp_path: Path, scheme: str) -> None:
    url = f"{scheme}:///{tmp_path}/a/b/studies.db"
    optuna.create_study(storage=open_storage(url, create=True), study_name="kept")
    assert optuna.get_all_study_names(open_storage(url, create=False)) == ["kept"]


def test_a_new_sqlite_file_is_in_wal_mode(tmp_path: Path) -> None:
    open_storage(f"sqlite:///{tmp_path}/studies.db", create=True)
    with sqlite3.connect(tmp_path / "studies.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_odd_characters_in_a_path_name_the_same_file_for_all(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a b%20{{c}}:d@e.db"
    optuna.create_study(storage=open_storage(url, create=True), study_name="odd")
    assert [file.name for file in tmp_path.glob("*.db")] == ["a b {c}:d@e.db"]
    assert optuna.get_all_study_names(open_storage(url, create=False)) == ["odd"]


def test_a_storage_opened_without_create_can_still_be_written(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/studies.db"
    trial = optuna.create_study(storage=open_storage(url, create=True), study_name="s").ask()
    study = optuna.load_study(study_name="s", storage=open_storage(url, create=False))
    optuna.trial.Trial(study, trial._trial_id).report(0.5, 1)
    assert study.trials[0].intermediate_values == {1: 0.5}


def test_sqlite_itself_refuses_to_write_a_storage_opened_read_only(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/studies.db"
    open_storage(url, create=True)
    with pytest.raises(StorageInternalError):
        optuna.create_study(storage=open_storage(url, create=False, read_only=True), study_name="s")
    assert optuna.get_all_study_names(open_storage(url, create=False)) == []


@pytest.mark.parametrize("scheme", ["sqlite", "journal"])
def test_a_file_that_is_no_study_database_is_refused_and_left_as_it_is(tmp_path: Path, scheme: str) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("shopping list\n" * 500)
    with pytest.raises(StorageError, match=r"not a (database|journal)"):
        open_storage(f"{scheme}:///{file}", create=False)
    assert file.read_text() == "shopping list\n" * 500


def test_another_programs_database_is_refused_and_gets_no_tables(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "other.db") as connection:
        connection.execute("CREATE TABLE songs (title)")
    with pytest.raises(StorageError, match="holds no studies"):
        open_storage(f"sqlite:///{tmp_path}/other.db", create=False)
    with sqlite3.connect(tmp_path / "other.db") as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("songs",)]


@pytest.mark.parametrize("create", [True, False])
def test_a_database_of_an_older_optuna_is_refused_with_the_way_to_upgrade_it(tmp_path: Path, create: bool) -> None:
    url = f"sqlite:///{tmp_path}/studies.db"
    open_storage(url, create=True)
    with sqlite3.connect(tmp_path / "studies.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v2.6.0.a'")
    with pytest.raises(StorageError, match="optuna storage upgrade"):
        open_storage(url, create=create)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("runs/studies.db", "write sqlite:///runs/studies.db"),
        ("oracel://me:hunter2@host/db", "unknown kind of storage 'oracel'"),
        ("postgresql://me:hunter2@host:port/db", "is not a storage URL"),
        ("sqlite://", "in memory"),
        ("journal://studies.log", "names no file"),
        ("journal:///", "names no file"),
    ],
)
def test_a_bad_url_is_one_clear_line(url: str, message: str) -> None:
    with pytest.raises(StorageError) as error:
        open_storage(url, create=False)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert "hunter2" not in str(error.value)


def test_a_folder_in_place_of_the_database_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="is a folder"):
        open_storage(f"sqlite:///{tmp_path}", create=True)


def test_a_parent_that_cannot_be_created_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(StorageError, match="can't be opened"):
        open_storage(f"sqlite:///{tmp_path}/runs/studies.db", create=True)


def test_a_missing_driver_is_named_with_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StorageError, match=r"psycopg, which isn't installed: \S+ -m pip install 'psycopg\[binary\]>="):
        open_storage("postgresql+psycopg://me:hunter2@host/db", create=False)


def test_what_a_server_answers_is_told_without_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        answer = Exception("password authentication failed for me:s%40cret / s@cret\nIs the server running?")
        raise sa.exc.OperationalError("SELECT 1", {}, answer)

    monkeypatch.setattr(sa, "create_engine", refuse)
    with pytest.raises(StorageError) as error:
        open_storage("postgresql://me:s%40cret@db.example/studies", create=True)
    text = "password authentication failed for me:*** / ***"
    assert str(error.value) == f"postgresql://me:***@db.example/studies can't be opened: {text}"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql+psycopg://me:hunter2@host:5432/db", "postgresql+psycopg://me:***@host:5432/db"),
        ("postgresql://me:hunter2@2/x@host/db", "postgresql://me:***@host/db"),
        ("postgresql://me@corp:hunter2@host/db", "postgresql://me@corp:***@host/db"),
        ("mysql://:hunter2@host/db", "mysql://:***@host/db"),
        ("postgresql://host/db?user=me&password=hunter2&x=1", "postgresql://host/db?user=me&password=***&x=1"),
        ("postgresql://me@host:5432/db", "postgresql://me@host:5432/db"),
        ("sqlite:///runs/studies.db", "sqlite:///runs/studies.db"),
        ("sqlite:///odd:name@here.db", "sqlite:///odd:name@here.db"),
        ("me:hunter2", "me:hunter2"),
    ],
)
def test_a_masked_url_keeps_all_but_the_password(url: str, expected: str) -> None:
    assert masked(url) == expected


def test_urls_inside_a_text_are_masked_and_the_rest_stays() -> None:
    text = "File a.py, line 3: connect('mysql://me:hunter2@h/d', retries=2)\nsee https://example.org:80/page"
    assert masked_text(text) == text.replace("hunter2", "***")


def _take_waiting_trials(url: str, barrier: object, taken: object) -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.load_study(study_name="line", storage=open_storage(url, create=False))
    waiting = [trial._trial_id for trial in study.get_trials(states=[optuna.trial.TrialState.WAITING])]
    for trial_id in waiting:
        barrier.wait(60)  # type: ignore[attr-defined]
        try:
            if study._storage.set_trial_state_values(trial_id, optuna.trial.TrialState.RUNNING):
                taken.put(trial_id)  # type: ignore[attr-defined]
        except optuna.exceptions.UpdateFinishedTrialError:
            continue


@pytest.mark.parametrize("scheme", ["sqlite", "journal"])
def test_of_processes_that_reach_for_one_waiting_trial_exactly_one_gets_it(tmp_path: Path, scheme: str) -> None:
    url = f"{scheme}:///{tmp_path}/studies.db"
    study = optuna.create_study(storage=open_storage(url, create=True), study_name="line")
    for x in range(20):
        study.enqueue_trial({"x": x})
    barrier, taken = CONTEXT.Barrier(4), CONTEXT.Queue()
    processes = [CONTEXT.Process(target=_take_waiting_trials, args=(url, barrier, taken)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * 4
    found = [taken.get(timeout=10) for _ in range(20)]
    assert taken.empty()
    assert sorted(found) == sorted({trial._trial_id for trial in study.trials})


def test_a_process_keeps_one_connection_to_a_server_and_takes_few_more(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, object] = {}

    def refuse(_: object, **options: object) -> None:
        asked.update(options)
        raise sa.exc.OperationalError("SELECT 1", {}, Exception("gone"))

    monkeypatch.setattr(sa, "create_engine", refuse)
    with pytest.raises(StorageAwayError), without_waiting():
        open_storage("postgresql+psycopg://me@host/db", create=False)
    assert (asked["pool_size"], asked["max_overflow"]) == (1, 4)
