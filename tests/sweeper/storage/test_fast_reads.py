"""Trials read plainly are those that Optuna reads."""

from __future__ import annotations

import gc
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from typer.testing import CliRunner

from mdaf.sweeper.storage import fast_reads
from mdaf.sweeper.storage.opening import StorageError, open_storage
from mdaf.sweeper.study.cli import app
from tests.sweeper import postgresql
from tests.sweeper.study.test_copying import as_text, write_study


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if request.param == "sqlite":
        address = f"sqlite:///{tmp_path_factory.mktemp('reading')}/s.db"
        write_study(address)
        yield address
        return
    with postgresql.server() as address:
        write_study(address)
        yield address


@pytest.mark.parametrize("states", [None, (TrialState.COMPLETE, TrialState.RUNNING)])
@pytest.mark.parametrize(("included", "after"), [(set(), -1), ({2, 5}, 6), ({2, 5, 9}, 6), (set(), 6), (set(), 99)])
def test_what_is_read_equals_what_optuna_reads(
    url: str, states: tuple[TrialState, ...] | None, included: set[int], after: int
) -> None:
    storage = open_storage(url, create=False)
    assert isinstance(storage, RDBStorage)
    study = storage.get_study_id_from_name("s")
    found = storage._get_trials(study, states, included, after)
    expected = RDBStorage._get_trials(storage, study, states, included, after)
    assert [{name: as_text(value) for name, value in vars(trial).items()} for trial in found] == [
        {name: as_text(value) for name, value in vars(trial).items()} for trial in expected
    ]
    assert [list(trial.params) for trial in found] == [list(trial.params) for trial in expected]


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe", "UTC"])
def test_times_are_local_ones_also_when_the_clocks_are_changed(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    fast_reads._offset.cache_clear()
    try:
        begin = datetime(2026, 1, 1, 0, 7, 31, 123456)
        moments = [begin + timedelta(minutes=5 * step) for step in range(12 * 24 * 365)]
        found = [fast_reads._local_time(moment) for moment in moments]
        expected = [moment.replace(tzinfo=UTC).astimezone().replace(tzinfo=None) for moment in moments]
        assert found == expected
        assert [moment.fold for moment in found if moment] == [moment.fold for moment in expected]
        assert len({one - other for one, other in zip(found, moments, strict=True) if one}) == 1 + (zone[:2] in "EuAu")
    finally:
        monkeypatch.undo()
        time.tzset()
        fast_reads._offset.cache_clear()


def test_a_study_that_is_not_there_is_an_error(url: str) -> None:
    with pytest.raises(KeyError, match="no study"):
        open_storage(url, create=False).get_all_trials(4711)


@pytest.mark.parametrize(
    "written",
    [
        'UPDATE trial_params SET distribution_json = \'{"name": "Another", "attributes": {}}\'',
        "UPDATE trial_params SET distribution_json = '{}'",
        """UPDATE trial_params SET param_value = 7, distribution_json =
           '{"name": "CategoricalDistribution", "attributes": {"choices": [1]}}'""",
        "UPDATE trial_values SET value = 'much'",
        "UPDATE trial_params SET param_value = 'much'",
        "UPDATE trial_params SET param_value = NULL",
        "UPDATE trial_user_attributes SET value_json = '{'",
        "UPDATE trial_user_attributes SET value_json = x'fffe'",
        "UPDATE trial_user_attributes SET value_json = CAST(x'22ff22' AS TEXT)",
        f"UPDATE trial_user_attributes SET value_json = '{'9' * 5000}'",
        f"UPDATE trial_user_attributes SET value_json = '{'[' * 100_000}'",
        "UPDATE trials SET datetime_start = 'yesterday'",
        "UPDATE trials SET state = 'DEAD'",
        "UPDATE trials SET number = NULL",
        "UPDATE OR REPLACE trial_params SET param_name = x'ff00'",
        "UPDATE OR REPLACE trial_user_attributes SET key = x'ff00'",
        "UPDATE OR REPLACE studies SET study_name = x'ff00'",
        "UPDATE study_directions SET direction = 'UP'",
        "DELETE FROM study_directions",
        "UPDATE study_user_attributes SET value_json = '{'",
    ],
    ids=lambda statement: " ".join(statement.split())[:70],
)
def test_rows_that_optuna_does_not_write_are_one_line(url: str, tmp_path: Path, written: str) -> None:
    if not url.startswith("sqlite"):
        pytest.skip("a server refuses most of them itself")
    file = tmp_path / "edited.db"
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as source, closing(sqlite3.connect(file)) as target:
        source.backup(target)
        target.execute(written)
        target.commit()
    answer = CliRunner().invoke(app, ["show", "--storage", f"sqlite:///{file}"])
    assert (answer.exit_code, answer.output.count("\n")) == (2, 1), answer.output
    assert "what Optuna does not write" in answer.output or "Could not decode" in answer.output


@pytest.mark.parametrize(
    "written",
    [
        "DELETE FROM trial_values",
        "UPDATE trials SET state = 'COMPLETE'",
        "INSERT INTO trial_values(trial_id, objective, value, value_type) SELECT trial_id, 7, 1, 'FINITE' FROM trials",
        "INSERT INTO study_directions(study_id, objective, direction) SELECT study_id, 7, 'MINIMIZE' FROM studies",
        "INSERT OR REPLACE INTO trial_system_attributes(trial_id, key, value_json) "
        "SELECT trial_id, 'constraints', '1' FROM trials",
    ],
)
def test_trials_whose_values_do_not_fit_the_study_are_one_line(tmp_path: Path, written: str) -> None:
    write_study(url := f"sqlite:///{tmp_path}/s.db")
    with closing(sqlite3.connect(tmp_path / "s.db")) as database:
        database.execute(written)
        database.commit()
    for command in ("list", "trials", "verify"):
        answer = CliRunner().invoke(app, [*command.split(), "--storage", url])
        assert (answer.exit_code, answer.output.count("\n")) == (2, 1), answer.output
        assert any(said in answer.output for said in ("Optuna does not write", "not what Optuna writes"))


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"


@pytest.mark.parametrize(
    ("written", "named"),
    [
        (
            [
                "ALTER TABLE trial_values RENAME TO own",
                f"CREATE VIEW trial_values AS {ENDLESS} SELECT own.* FROM own, n",
            ],
            "view",
        ),
        (["CREATE TRIGGER after_all AFTER UPDATE ON trials BEGIN DELETE FROM trials; END"], "trigger after_all"),
        (
            ["DROP TABLE trial_heartbeats", "CREATE VIRTUAL TABLE trial_heartbeats USING fts5(x)"],
            "view trial_heartbeats",
        ),
    ],
    ids=["a view without an end", "a trigger", "a virtual table"],
)
@pytest.mark.parametrize("create", [False, True])
def test_a_database_that_would_run_something_at_each_question_is_refused(
    tmp_path: Path, written: list[str], named: str, create: bool
) -> None:
    write_study(f"sqlite:///{tmp_path}/s.db")
    with closing(sqlite3.connect(tmp_path / "s.db")) as database:
        for statement in written:
            database.execute(statement)
        database.commit()
    with pytest.raises(StorageError, match=rf"holds the {named}.*, which Optuna does not make"):
        open_storage(f"sqlite:///{tmp_path}/s.db", create=create)


@pytest.mark.parametrize(
    "line", ['{"op_code": 99, "worker_id": "w"}', '{"a": 1}', "5", '{"op_code": 4, "worker_id": []}']
)
def test_a_journal_with_lines_that_optuna_does_not_write_is_one_line(tmp_path: Path, line: str) -> None:
    write_study(f"journal:///{tmp_path}/s.log")
    with (tmp_path / "s.log").open("a") as file:
        file.write(f"{line}\n")
    answer = CliRunner().invoke(app, ["list", "--storage", f"journal:///{tmp_path}/s.log"])
    assert (answer.exit_code, answer.output.count("\n")) == (2, 1), answer.output
    assert "is not a journal of Optuna" in answer.output


@pytest.mark.parametrize("study", ["s", "there is no such study"])
def test_garbage_is_looked_for_again_after_reading(url: str, study: str) -> None:
    storage = open_storage(url, create=False)
    with suppress(KeyError):
        storage.get_all_trials(storage.get_study_id_from_name("s") if study == "s" else 4711)
    assert gc.isenabled()
