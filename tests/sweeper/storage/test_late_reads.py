"""What finished trials recorded is read when it is asked for, and every answer is that of reading it at once."""

from __future__ import annotations

import copy
import math
import pickle
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial
from typer.testing import CliRunner

from mdaf.sweeper.storage import late_reads
from mdaf.sweeper.storage.idempotent import RepeatableStorage
from mdaf.sweeper.storage.late_reads import attribute, holds, names_of_attributes
from mdaf.sweeper.storage.opening import open_storage
from mdaf.sweeper.storage.optuna_internals import PartlyReadTrial
from mdaf.sweeper.study.cli import app
from mdaf.sweeper.study.queries import load_study, open_to_ask
from tests.sweeper import postgresql
from tests.sweeper.study.test_copying import as_text

SPACE: dict[str, BaseDistribution] = {"a.dropout": FloatDistribution(0, 1), "kind": CategoricalDistribution(["x", "y"])}
BEGAN = datetime(2026, 3, 28, 22)
STATES = (TrialState.COMPLETE, TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.COMPLETE)
QUESTIONS = (
    "list",
    "list --format json",
    "show --format json",
    "show",
    "show 3 --format json",
    "best --top 4 --format json",
    "best --top 4",
    "best --format overrides",
    "trials",
    "trials --limit 3",
    "trials --limit 2 --state fail --state pruned",
    "trials --limit 0",
    "trials --format csv",
    "trials --format json --limit 4",
    "trials --sort -value --limit 4",
    "trials --where seed==43 --where train_auc>0.2",
    "trials --runs --limit 5",
    "trials --where nothing==1",
    "importance",
    "watch",
    "verify",
    "retry --format json",
    "compare 0 1",
)


def trial_of(number: int, objectives: int, race: bool) -> FrozenTrial:
    """A trial with all that a sweep may leave on one."""
    state = STATES[number % len(STATES)] if number < 36 else (TrialState.RUNNING, TrialState.WAITING)[number % 2]
    share = (number // 4 if race else number) * 0.0237 % 1
    params: dict[str, Any] = {} if state is TrialState.WAITING else {"a.dropout": share, "kind": "xy"[number % 2]}
    attributes: dict[str, Any] = {
        "run_dir": f"/runs/{number}",
        "seed": 42 + number % 4,
        "overrides": ["a=1", f"b={number % 3}"] if number % 5 else ["a=1"],
        "worker": f"host:{number % 3}:1",
        "lease_expires": 1.5 * number,
        "train_auc": 0.03 * number,
        "best_epoch": number % 9 or None,
        "note": number if number % 7 == 0 else "another program's",
        "duration": "an attribute with a column's name",
    }
    attributes |= {"point_id": f"{number // 4:012d}"} if race else {}
    attributes |= {"point": ("weak", "balanced", "strong")[number]} if number < 3 else {}
    attributes |= {"error": "ValueError: no", "failed_by": "point"} if state is TrialState.FAIL else {}
    attributes |= {"interrupted": "SIGTERM", "retry": {"interruptions": 1}} if number in (8, 13) else {}
    attributes |= {"enqueued_as": "retry of 8", "retry_of": 8} if number in (21, 37) else {}
    attributes |= {"same_run_as": 1, "outcome": {"state": "COMPLETE", "values": [0.5]}} if number == 20 else {}
    attributes |= {"withdrawn": "another one took its place"} if number == 18 else {}
    trial = (
        create_trial(
            state=state,
            values=[math.sin(number) + objective for objective in range(objectives)]
            if number % 5 in (0, 1, 4)
            else None,
            params=params,
            distributions={name: SPACE[name] for name in params},
            user_attrs=attributes,
            system_attrs={"constraints": [math.cos(number)]} if number % 3 else {},
            intermediate_values={epoch: 0.1 * epoch for epoch in range(1, 1 + number % 4)},
        )
        if number < 36
        else create_trial(
            state=state, params=params, distributions={name: SPACE[name] for name in params}, user_attrs=attributes
        )
    )
    trial.datetime_start = BEGAN + timedelta(minutes=10 * number)
    trial.datetime_complete = trial.datetime_start + timedelta(seconds=30 + number) if number < 36 else None
    return trial


def write_studies(url: str) -> str:
    """A study of one objective, one of two, and a race."""
    storage = open_storage(url, create=True)
    for name, directions in (("one", ["maximize"]), ("two", ["maximize", "minimize"]), ("race", ["maximize"])):
        study = optuna.create_study(study_name=name, storage=storage, directions=directions)
        study.set_user_attr("n_trials", 50)
        for number in range(38 if name != "race" else 36):
            study.add_trial(trial_of(number, len(directions), race=name == "race"))
    return url


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if request.param == "sqlite":
        yield write_studies(f"sqlite:///{tmp_path_factory.mktemp('late')}/s.db")
        return
    with postgresql.server() as address:
        yield write_studies(address)


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five finished trials are many, and read three at a time."""
    monkeypatch.setattr(late_reads, "LARGE", 5)
    monkeypatch.setattr(late_reads, "AT_A_TIME", 3)


def as_texts(trials: list[FrozenTrial]) -> list[dict[str, str]]:
    whole = [trial.whole() if isinstance(trial, PartlyReadTrial) else trial for trial in trials]
    return [{name: as_text(value) for name, value in vars(trial).items()} for trial in whole]


@pytest.mark.parametrize("study", ["one", "two", "race"])
def test_every_answer_is_that_of_reading_all_at_once(
    url: str, study: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answers() -> dict[str, tuple[int, str]]:
        asked = {words: CliRunner().invoke(app, [*words.split(), *named(words)]) for words in QUESTIONS}
        return {words: (answer.exit_code, answer.output) for words, answer in asked.items()}

    def named(words: str) -> list[str]:
        return ["--storage", url, *([] if words.startswith("list") else ["--study", study])]

    monkeypatch.setattr("mdaf.sweeper.study.commands.watched.seconds_so_far", lambda trial: 7)  # of what runs
    expected = answers()
    request.getfixturevalue("large")
    assert answers() == expected
    assert {code for code, _ in expected.values()} <= {0, 1, 2}
    assert sum(code == 0 for code, _ in expected.values()) > len(QUESTIONS) / 2


@pytest.mark.usefixtures("large")
def test_trials_that_are_read_late_are_those_that_optuna_reads_and_so_are_their_copies(url: str) -> None:
    def late() -> list[FrozenTrial]:
        found = load_study(open_to_ask(url), "one").get_trials(deepcopy=False)
        assert sum(isinstance(trial, PartlyReadTrial) for trial in found) == 36
        return found

    storage = open_storage(url, create=False)
    assert isinstance(storage, RDBStorage)
    expected = as_texts(RDBStorage._get_trials(storage, storage.get_study_id_from_name("one"), None, set(), -1))
    assert as_texts(late()) == expected
    assert as_texts(copy.deepcopy(late())) == expected
    assert as_texts(pickle.loads(pickle.dumps(late()))) == expected
    assert as_texts([copy.copy(trial) for trial in late()]) == expected
    assert all(type(trial) is FrozenTrial for trial in pickle.loads(pickle.dumps(late())))
    assert late()[5] == late()[5].whole()
    assert late()[5] != late()[6]


@pytest.mark.usefixtures("large")
def test_a_trial_that_is_changed_in_memory_keeps_the_change(url: str) -> None:
    one, other = load_study(open_to_ask(url), "one").get_trials(deepcopy=False)[:2]
    one.set_user_attr("mine", 5)
    assert (one.user_attrs["mine"], one.user_attrs["seed"]) == (5, 42)
    other.user_attrs = {"only": 1}
    assert (attribute(other, "only"), holds(other, "seed"), attribute(other, "seed")) == (1, False, None)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = other.nothing  # type: ignore[attr-defined]


@pytest.mark.usefixtures("large")
def test_a_question_about_values_reads_the_attributes_of_the_trials_that_it_shows(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    original = RepeatableStorage.read_user_attrs

    def noted(self: RepeatableStorage, keys: Any) -> Any:
        read.extend(keys)
        return original(self, keys)

    monkeypatch.setattr(RepeatableStorage, "read_user_attrs", noted)
    for words, most in (
        ("list", 0),
        ("importance --study one", 0),
        ("watch --study one", 0),
        ("show 9 --study one", 3),
    ):
        read.clear()
        if words == "list":
            monkeypatch.setattr("mdaf.sweeper.study.winners.is_race", lambda study: False)
            monkeypatch.setattr("mdaf.sweeper.study.summaries.is_race", lambda study: False)
        assert CliRunner().invoke(app, [*words.split(), "--storage", url]).exit_code == 0
        assert len(read) <= most, words


@pytest.mark.usefixtures("large")
def test_one_attribute_of_all_trials_is_the_one_that_each_trial_has(url: str) -> None:
    trials = load_study(open_to_ask(url), "one").get_trials(deepcopy=False)
    names = ("seed", "best_epoch", "retry_of", "note", "overrides", "not there")
    found = [{name: (holds(trial, name), attribute(trial, name)) for name in names} for trial in trials]
    every = names_of_attributes(trials)
    filled = names_of_attributes(trials, filled=True)
    whole = [{name: (name in trial.user_attrs, trial.user_attrs.get(name)) for name in names} for trial in trials]
    assert found == whole
    assert every == {name for trial in trials for name in trial.user_attrs}
    assert filled == {name for trial in trials for name, value in trial.user_attrs.items() if value is not None}


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize(
    ("name", "text"),
    [("seed", '"forty-two"'), ("seed", "42.5"), ("overrides", "[1]"), ("run_dir", "5"), ("worker", "true")],
)
def test_attributes_that_another_program_wrote_are_found_and_said(tmp_path: Path, name: str, text: str) -> None:
    url = write_studies(f"sqlite:///{tmp_path}/s.db")
    with closing(sqlite3.connect(tmp_path / "s.db")) as database:
        database.execute(
            "UPDATE trial_user_attributes SET value_json = ? WHERE key = ? AND trial_id = "
            "(SELECT trial_id FROM trials JOIN studies USING (study_id) WHERE number = 10 AND study_name = 'one')",
            (text, name),
        )
        database.commit()
    answer = CliRunner().invoke(app, ["show", "--study", "one", "--storage", url])
    assert answer.exit_code == 0
    assert f"warning: study one, trial 10: its attribute {name} is" in answer.output
    assert "its attribute" not in CliRunner().invoke(app, ["show", "--study", "two", "--storage", url]).output


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("text", ["{", '"', "x", "'[' || 1"])
def test_attributes_that_are_no_json_are_one_line_as_soon_as_they_are_needed(tmp_path: Path, text: str) -> None:
    url = write_studies(f"sqlite:///{tmp_path}/s.db")
    with closing(sqlite3.connect(tmp_path / "s.db")) as database:
        database.execute("UPDATE trial_user_attributes SET value_json = ? WHERE key IN ('run_dir', 'note')", (text,))
        database.commit()
    answer = CliRunner().invoke(app, ["show", "5", "--study", "one", "--storage", url])
    assert (answer.exit_code, answer.output.count("\n")) == (2, 1), answer.output
    assert "what Optuna does not write" in answer.output


@pytest.mark.usefixtures("large")
def test_an_attribute_whose_name_is_no_text_is_one_line(tmp_path: Path) -> None:
    url = write_studies(f"sqlite:///{tmp_path}/s.db")
    with closing(sqlite3.connect(tmp_path / "s.db")) as database:
        database.execute("UPDATE trial_user_attributes SET key = X'ff00' WHERE key = 'run_dir' AND trial_id = 5")
        database.commit()
    answer = CliRunner().invoke(app, ["trials", "--study", "one", "--storage", url])
    assert (answer.exit_code, answer.output.count("\n")) == (2, 1), answer.output
    assert "what Optuna does not write" in answer.output
