"""A study database that is locked or away for a while costs time and nothing else."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState

from mdaf.messages.reporting import is_user_error
from mdaf.processes.interruption import Interrupted, Interruption
from mdaf.sweeper.storage import call_watch, opening, retrying
from mdaf.sweeper.storage.opening import open_storage
from mdaf.sweeper.storage.retrying import StorageAwayError, at_the_end
from mdaf.sweeper.study.cli import main
from mdaf.sweeper.trials.leases import Leases
from mdaf.sweeper.trials.trials import Trials


@pytest.fixture
def study(tmp_path: Path) -> optuna.Study:
    url = f"sqlite:///{tmp_path}/studies.db"
    optuna.create_study(storage=open_storage(url, create=True), study_name="s")
    return optuna.load_study(study_name="s", storage=open_storage(f"{url}?timeout=0.05", create=False))


def take_away(study: optuna.Study, times: int, says: str = "server closed the connection unexpectedly") -> list[str]:
    """Makes the next statements fail as they do when a server is away; returns those that failed."""
    failed: list[str] = []

    def refuse(cursor: Any, statement: str, parameters: Any, context: Any) -> None:
        if len(failed) < times:
            failed.append(statement)
            raise sqlite3.OperationalError(says)

    sa.event.listen(study._storage._backend.engine, "do_execute", refuse)  # type: ignore[attr-defined]
    return failed


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pauses between two tries are short, and nothing is known of other tests' databases."""
    monkeypatch.setattr(retrying, "FIRST_PAUSE_SECONDS", 0.005)
    monkeypatch.setattr(retrying, "LONGEST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(retrying, "SLICE_SECONDS", 0.01)
    monkeypatch.setattr(retrying, "_outages", {})


def test_a_database_that_is_gone_for_a_while_is_waited_for(
    study: optuna.Study, caplog: pytest.LogCaptureFixture
) -> None:
    trial = study.ask()
    failed = take_away(study, times=8)
    with caplog.at_level(logging.INFO):
        trial.report(0.5, 1)
    assert len(failed) == 8
    said = [record.message for record in caplog.records if "study database" in record.message]
    assert [text.split(",")[0].split(" after")[0] for text in said] == [
        "the study database is away",
        "the study database is back",
    ]
    study.tell(trial, 0.7)
    assert [(t.intermediate_values, t.value) for t in study.trials] == [({1: 0.5}, 0.7)]


@pytest.mark.parametrize("replaced", [False, True])
@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_a_database_whose_file_is_moved_away_is_waited_for_and_nothing_is_written_elsewhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str, replaced: bool
) -> None:
    file, url = tmp_path / "studies.db", f"{kind}:///{tmp_path}/studies.db"
    study = optuna.create_study(storage=open_storage(url, create=True), study_name="s")
    trial = study.ask()
    moved = file.rename(tmp_path / "moved")
    if replaced:
        file.write_bytes(b"another")

    def put_back() -> None:
        while not said():
            time.sleep(0.005)
        found.append(file.read_bytes() if file.exists() else None)
        moved.rename(file)

    def said() -> list[str]:
        return [line for line in caplog.messages if "the study database" in line]

    found: list[bytes | None] = []
    back = threading.Thread(target=put_back)
    back.start()
    trial.report(0.5, 1)
    back.join()
    study.tell(trial, 0.7)
    assert found == [b"another" if replaced else None]
    assert ("was replaced by another file" if replaced else "was deleted or moved away") in said()[0]
    again = optuna.load_study(study_name="s", storage=open_storage(url, create=False))
    assert [(t.intermediate_values, t.value) for t in again.trials] == [({1: 0.5}, 0.7)]


@pytest.mark.parametrize("before", [0, 1, 2, 3, 4, 5])
def test_a_trial_whose_parameters_are_written_while_the_database_is_gone_has_them_all(
    study: optuna.Study, before: int
) -> None:
    trial, told = study.ask(), list[str]()

    def refuse(cursor: Any, statement: str, parameters: Any, context: Any) -> None:
        told.append(statement)
        if before <= len(told) - 1 < before + 4:
            raise sqlite3.OperationalError("server closed the connection unexpectedly")

    sa.event.listen(study._storage._backend.engine, "do_execute", refuse)  # type: ignore[attr-defined]
    point = {name: trial.suggest_float(name, 0, 1) for name in "xyz"}
    assert len(told) > before + 4
    assert [found.params for found in study.trials] == [point]


def test_a_database_that_is_locked_for_longer_than_its_own_timeout_is_waited_for(
    study: optuna.Study, tmp_path: Path
) -> None:
    trial = study.ask()
    locked, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        connection = sqlite3.connect(tmp_path / "studies.db", isolation_level=None)
        connection.execute("BEGIN EXCLUSIVE")
        locked.set()
        let_go.wait(30)
        connection.execute("COMMIT")
        connection.close()

    holder = threading.Thread(target=hold)
    holder.start()
    assert locked.wait(30)
    threading.Timer(0.6, let_go.set).start()
    trial.set_user_attr("seed", 1)
    study.tell(trial, 0.5)
    holder.join()
    assert (study.trials[0].user_attrs["seed"], study.trials[0].value) == (1, 0.5)


@pytest.mark.parametrize("says", ["attempt to write a readonly database", "no such table: trials", "access denied"])
def test_what_waiting_does_not_mend_is_said_at_once(study: optuna.Study, says: str) -> None:
    trial = study.ask()
    failed = take_away(study, times=99, says=says)
    with pytest.raises((StorageInternalError, sa.exc.OperationalError)):
        trial.report(0.5, 1)
    assert len(failed) <= 2


def test_retries_have_an_end_which_all_calls_share(study: optuna.Study, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = study.ask()
    failed = take_away(study, times=10**6)
    monkeypatch.setattr(retrying, "RETRY_SECONDS", 0.05)
    with pytest.raises(StorageAwayError, match="type the same command again") as error:
        trial.report(0.5, 1)
    assert not is_user_error(error.value)
    before = len(failed)
    assert before >= 1
    with pytest.raises(StorageAwayError):  # the end of a sweep does not wait once more for each call
        trial.report(0.5, 2)
    assert len(failed) == before + 1


def test_a_query_of_a_server_that_is_away_gives_up_sooner_than_a_sweep(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("psycopg")
    monkeypatch.setattr(retrying, "QUERY_SECONDS", 0.05)
    monkeypatch.setattr("sys.argv", ["mdaf-study", "list", "--storage", "postgresql+psycopg://127.0.0.1:1/db"])
    with pytest.raises(SystemExit, match="75"):
        main()
    [line] = [line for line in capsys.readouterr().err.splitlines() if "has been away for" in line]
    assert "type the same command again" in line
    assert retrying.RETRY_SECONDS == 300


def test_a_signal_that_asks_a_run_to_leave_ends_the_wait(study: optuna.Study) -> None:
    trial = study.ask()
    failed = take_away(study, times=10**6)
    with Interruption():
        ask_to_end_when(lambda: len(failed) > 3, signal.SIGTERM)
        with pytest.raises(Interrupted):
            trial.report(0.5, 1)


def test_ctrl_c_ends_the_wait_and_what_a_sweep_does_at_its_end_does_not_wait_again(
    study: optuna.Study, caplog: pytest.LogCaptureFixture
) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # tests that run in the background ignore it
    trial = study.ask()
    failed = take_away(study, times=10**6)
    ask_to_end_when(lambda: len(failed) > 3, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        trial.report(0.5, 1)
    before = len(failed)
    at_the_end(study._storage, lambda: study.tell(trial, state=TrialState.FAIL))
    assert len(failed) == before
    assert "the next command gives up the trials" in caplog.text


def ask_to_end_when(condition: Callable[[], bool], number: signal.Signals) -> None:
    def wait() -> None:
        while not condition():
            time.sleep(0.005)
        os.kill(os.getpid(), number)

    threading.Thread(target=wait).start()


def test_a_database_that_is_away_when_it_is_opened_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    has_schema, refused = opening._has_schema, list[int]()

    def starting_up(*arguments: Any) -> bool:
        if len(refused) < 4:
            refused.append(1)
            raise sa.exc.OperationalError("", {}, Exception("FATAL:  the database system is starting up"))
        return has_schema(*arguments)

    monkeypatch.setattr(opening, "_has_schema", starting_up)
    with caplog.at_level(logging.INFO):
        open_storage(f"sqlite:///{tmp_path}/new.db", create=True)
    assert [line.partition(",")[0].partition(" after")[0] for line in caplog.messages] == [
        "the study database is away",
        "the study database is back",
    ]


def test_a_job_that_lost_the_database_for_too_long_is_no_mistake_and_its_point_is_tried_again(
    study: optuna.Study,
) -> None:
    study.enqueue_trial({"x": 0.25})
    trial = study.ask({"x": optuna.distributions.FloatDistribution(0, 1)})
    failure = Trials(study).fail(trial, StorageAwayError("away for 300 s"), None)
    assert failure is not None
    assert failure.retried
    assert [t.state for t in study.trials] == [TrialState.FAIL, TrialState.WAITING]
    assert study.trials[1].system_attrs["fixed_params"] == {"x": 0.25}


# ---- a database that does not answer


def test_a_signal_that_asks_a_run_to_leave_ends_a_call_that_is_not_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_watch, "LOOK_SECONDS", 0.01)
    ours, theirs = socket.socketpair()
    asked = threading.Event()

    def ask() -> None:
        call_watch._on_connection(ours)
        asked.set()
        assert ours.recv(1) == b""  # until it is shut down
        raise sa.exc.OperationalError("", {}, Exception("server closed the connection unexpectedly"))

    with Interruption():
        ask_to_end_when(asked.is_set, signal.SIGTERM)
        with pytest.raises(Interrupted):
            retrying.wait_for("postgresql://db", ask)
    ours.close()
    theirs.close()


def test_a_call_that_is_not_answered_is_told_and_its_connection_ended_and_it_is_made_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(call_watch, "SAY_SECONDS", 0.02)
    monkeypatch.setattr(call_watch, "HANG_UP_SECONDS", 0.05)
    monkeypatch.setattr(call_watch, "LOOK_SECONDS", 0.01)
    connections = []

    def ask() -> int:
        ours, theirs = socket.socketpair()
        connections.append((ours, theirs))
        call_watch._on_connection(ours)
        if len(connections) == 3:
            return 3
        assert ours.recv(1) == b""  # until it is shut down
        raise sa.exc.OperationalError("", {}, Exception("server closed the connection unexpectedly"))

    with caplog.at_level(logging.INFO):
        assert retrying.wait_for("postgresql://db", ask) == 3
    assert len(connections) == 3
    assert "the study database has not answered for" in caplog.messages[0]
    assert "is back after" in caplog.messages[-1]
    assert len(caplog.messages) == 2
    for pair in connections:
        for end in pair:
            end.close()


def test_a_lease_is_not_waited_for_so_that_a_sweep_ends_when_it_is_asked_to(study: optuna.Study) -> None:
    trial = study.ask()
    failed = take_away(study, times=10**6)
    with Leases(study._storage, every=0.01) as leases:
        leases.hold(trial._trial_id)
        while not failed:
            time.sleep(0.01)
    assert leases.held == {trial._trial_id}
