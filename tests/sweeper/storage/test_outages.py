"""A PostgreSQL that restarts, drops connections, has none left or freezes: work waits for it and loses nothing."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from mdaf.messages.reporting import in_one_line
from mdaf.sweeper.storage import call_watch, retrying
from mdaf.sweeper.storage.backup import back_up
from mdaf.sweeper.storage.opening import StorageError, open_storage
from mdaf.sweeper.storage.retrying import StorageRefusedError
from tests.sweeper.postgresql import Server, breakable_server

SPACE = {"x": FloatDistribution(0, 1), "y": FloatDistribution(0, 1)}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with breakable_server() as server:
        open_storage(server.url, create=True)
        yield server


def restart(server: Server) -> None:
    server.stop("immediate")
    time.sleep(1)
    server.start()


def drop_connections(server: Server) -> None:
    for _ in range(15):
        server.end_connections()
        time.sleep(0.1)


def leave_no_connection(server: Server) -> None:
    with server.full():
        time.sleep(1.5)


def freeze(server: Server) -> None:
    with server.frozen():
        time.sleep(2.5)


@pytest.mark.parametrize("fault", [restart, drop_connections, leave_no_connection, freeze])
def test_a_studys_work_goes_on_when_the_server_is_back(
    server: Server,
    fault: Callable[[Server], None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(retrying, "LONGEST_PAUSE_SECONDS", 0.3)
    monkeypatch.setattr(call_watch, "SAY_SECONDS", 0.5)
    monkeypatch.setattr(call_watch, "HANG_UP_SECONDS", 1.0)
    monkeypatch.setattr(call_watch, "LOOK_SECONDS", 0.1)
    study = optuna.create_study(
        storage=open_storage(server.url, create=True),
        study_name=fault.__name__,
        sampler=optuna.samplers.RandomSampler(),
    )
    over = threading.Thread(target=fault, args=(server,))
    over.start()
    told = 0
    with caplog.at_level(logging.INFO):
        while over.is_alive() or told < 5:
            study.add_trial(create_trial(state=TrialState.WAITING, system_attrs={"fixed_params": {"x": 0.5}}))
            trial = study.ask(SPACE)
            trial.set_user_attr("told", told)
            trial.report(0.5, 1)
            study.tell(trial, trial.params["y"])
            told += 1
    over.join()
    trials = study.get_trials()
    assert [trial.number for trial in trials] == list(range(told))
    assert Counter(trial.state for trial in trials) == {TrialState.COMPLETE: told}
    assert [trial.user_attrs["told"] for trial in trials] == list(range(told))
    assert all(trial.params["x"] == 0.5 and trial.value == trial.params["y"] for trial in trials)
    assert any("waiting up to 300 s" in line for line in caplog.messages)
    assert any("is back after" in line for line in caplog.messages)


def test_a_server_that_is_not_there_is_waited_for_when_a_study_is_opened(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(retrying, "LONGEST_PAUSE_SECONDS", 0.3)
    server.stop("immediate")
    threading.Timer(0.5, server.start).start()
    open_storage(server.url, create=False)
    assert "the study database is away" in caplog.text


def test_a_transaction_of_a_process_that_froze_does_not_hold_its_locks_for_ever(server: Server) -> None:
    storage = open_storage(server.url, create=False)
    with storage.engine.connect() as connection:  # type: ignore[attr-defined]
        assert connection.exec_driver_sql("SHOW idle_in_transaction_session_timeout").scalar() == "2min"


def test_a_server_that_may_only_be_read_answers_and_refuses_a_new_study_in_one_line(server: Server) -> None:
    with server.connect() as connection:
        connection.execute("ALTER DATABASE postgres SET default_transaction_read_only = on")
    try:
        storage = open_storage(server.url, create=True)
        assert isinstance(optuna.get_all_study_names(storage), list)
        with pytest.raises(StorageRefusedError, match="read-only transaction") as error:
            optuna.create_study(storage=storage, study_name="new")
        assert in_one_line(error.value) == str(error.value)
    finally:
        with server.connect() as connection:
            connection.execute("SET default_transaction_read_only = off")
            connection.execute("ALTER DATABASE postgres RESET default_transaction_read_only")


def test_a_backup_of_a_server_is_the_servers_own_command(server: Server, tmp_path: Path) -> None:
    with pytest.raises(StorageError) as error:
        back_up(server.url.replace("mdaf@", "mdaf:hunter2@"), tmp_path / "back.dump")
    plain = server.url.replace("+psycopg", "")
    assert f"pg_dump --format=custom --file={tmp_path}/back.dump --dbname={plain}" in str(error.value)
    assert "hunter2" not in str(error.value)
