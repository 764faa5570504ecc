"""A study database that is locked or away for a while costs time and nothing else."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from optuna.exceptions import StorageInternalError

from sweeper import patience
from sweeper.lease import Leases
from sweeper.storage import open_storage


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
    """The pauses between two tries are short."""
    sleep = time.sleep
    monkeypatch.setattr(patience.time, "sleep", lambda seconds: sleep(seconds / 20))


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


def test_patience_has_an_end(study: optuna.Study, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = study.ask()
    take_away(study, times=10**6)
    monkeypatch.setattr(patience, "PATIENCE_SECONDS", 0.05)
    with pytest.raises((StorageInternalError, sa.exc.OperationalError)):
        trial.report(0.5, 1)


def test_a_lease_is_not_waited_for_so_that_a_sweep_ends_when_it_is_asked_to(study: optuna.Study) -> None:
    trial = study.ask()
    failed = take_away(study, times=10**6)
    with Leases(study._storage, every=0.01) as leases:
        leases.hold(trial._trial_id)
        while not failed:
            time.sleep(0.01)
    assert leases.held == {trial._trial_id}
