"""Every call of a storage waits for its database, and one whose answer was lost is not carried out twice."""

from __future__ import annotations

import inspect
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.exceptions import DuplicatedStudyError, UpdateFinishedTrialError
from optuna.storages import RDBStorage, get_storage
from optuna.storages._cached_storage import _CachedStorage
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from mdaf.sweeper.storage import retrying
from mdaf.sweeper.storage.idempotent import ServerStorage, SQLiteStorage
from mdaf.sweeper.storage.opening import open_storage

READS = "it reads"
SAME = "it writes the same value again"
TOKEN = "it looks for its token before it writes"
PART = "it is a part of another call, which is made again whole"
LOCAL = "it does not ask the database"

# Each method of Optuna's storage, public and private, and why making it again after a lost answer does no harm.
AGAIN = {
    **dict.fromkeys(
        ("_get_best_trial_id", "_get_stale_trial_ids", "_get_trials", "get_all_studies", "get_all_trials"), READS
    ),
    **dict.fromkeys(("get_best_trial", "get_current_version", "get_n_trials", "get_study_directions"), READS),
    **dict.fromkeys(("get_study_id_from_name", "get_study_name_from_id", "get_study_system_attrs"), READS),
    **dict.fromkeys(("get_study_user_attrs", "get_trial", "get_trial_id_from_study_id_trial_number"), READS),
    **dict.fromkeys(("get_trial_number_from_id", "get_trial_param", "get_trial_params"), READS),
    **dict.fromkeys(("get_trial_system_attrs", "get_trial_user_attrs"), READS),
    **dict.fromkeys(("record_heartbeat", "set_study_system_attr", "set_study_user_attr"), SAME),
    **dict.fromkeys(("set_trial_intermediate_value", "set_trial_param", "_set_trial_param"), SAME),
    **dict.fromkeys(("set_trial_system_attr", "set_trial_user_attr", "upgrade", "delete_study"), SAME),
    **dict.fromkeys(("create_new_study", "create_new_trial", "_create_new_trial", "set_trial_state_values"), TOKEN),
    **dict.fromkeys(("_build_frozen_trial_from_trial_model", "_get_prepared_new_trial"), PART),
    **dict.fromkeys(("_set_trial_attr_without_commit", "_set_trial_intermediate_value_without_commit"), PART),
    **dict.fromkeys(("_set_trial_param_without_commit", "_set_trial_value_without_commit"), PART),
    **dict.fromkeys(("check_trial_is_updatable", "get_all_versions", "get_head_version", "remove_session"), LOCAL),
    **dict.fromkeys(("get_failed_trial_callback", "get_heartbeat_interval"), LOCAL),
    "get_heartbeat_stale_trial_callback": LOCAL,
}


def methods(kind: type) -> set[str]:
    """Those that have an instance."""
    found = inspect.getmembers(kind, inspect.isfunction)
    return {
        name
        for name, _ in found
        if not name.startswith("__") and not isinstance(inspect.getattr_static(kind, name), staticmethod)
    }


def test_of_every_method_of_optunas_storage_it_is_known_why_it_may_be_made_again() -> None:
    assert methods(RDBStorage) == set(AGAIN)


@pytest.mark.parametrize("kind", [ServerStorage, SQLiteStorage])
def test_every_method_of_a_storage_waits_public_or_private(kind: type[RDBStorage]) -> None:
    waiting = {name for name in methods(kind) if hasattr(getattr(kind, name), "__wrapped__")}
    assert methods(kind) - waiting == {"remove_session"}
    assert set(AGAIN) - {"remove_session"} <= waiting
    asked = set(re.findall(r"self\._backend\.(\w+)", inspect.getsource(_CachedStorage)))  # what a study goes through
    assert asked <= waiting


# ---- a commit whose answer is lost


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> optuna.Study:
    monkeypatch.setattr(retrying, "LONGEST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(retrying, "FIRST_PAUSE_SECONDS", 0.01)
    return optuna.create_study(storage=open_storage(f"sqlite:///{tmp_path}/s.db", create=True), study_name="s")


def lose_the_answer(study: optuna.Study) -> list[int]:
    """The next commit is carried out, and then its connection breaks. What is returned is empty until then."""
    dialect, lost = study._storage._backend.engine.dialect, list[int]()  # type: ignore[attr-defined]
    commit = dialect.do_commit

    def break_off(connection: Any) -> None:
        wrote = connection.in_transaction
        commit(connection)
        if wrote and not lost:
            lost.append(1)
            raise sqlite3.OperationalError("server closed the connection unexpectedly")

    dialect.do_commit = break_off
    return lost


def test_a_study_whose_making_was_not_answered_is_made_once(study: optuna.Study) -> None:
    lost = lose_the_answer(study)
    made = study._storage.create_new_study([StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE], "t")
    assert lost
    assert study._storage.get_study_name_from_id(made) == "t"
    assert sorted(optuna.get_all_study_names(study._storage)) == ["s", "t"]
    with pytest.raises(DuplicatedStudyError):
        study._storage.create_new_study([StudyDirection.MAXIMIZE], "t")


def test_a_study_without_a_name_whose_making_was_not_answered_is_made_once(study: optuna.Study) -> None:
    lost = lose_the_answer(study)
    study._storage.create_new_study([StudyDirection.MAXIMIZE])
    assert lost
    assert len(optuna.get_all_study_names(study._storage)) == 2


@pytest.mark.parametrize("state", [None, TrialState.RUNNING, TrialState.WAITING, TrialState.COMPLETE])
def test_a_trial_whose_making_was_not_answered_is_made_once(study: optuna.Study, state: TrialState | None) -> None:
    value = 0.5 if state is TrialState.COMPLETE else None
    template = None if state is None else create_trial(state=state, value=value, user_attrs={"a": 1})
    study.add_trial(create_trial(value=1.0))
    lost = lose_the_answer(study)
    made = study._storage.create_new_trial(study._study_id, template_trial=template)
    assert lost
    assert [(t._trial_id, t.state, t.value) for t in study.trials[1:]] == [(made, state or TrialState.RUNNING, value)]


def test_a_claim_that_was_not_answered_is_this_process_s(study: optuna.Study) -> None:
    study.enqueue_trial({"x": 1})
    [waiting] = study.trials
    lost = lose_the_answer(study)
    assert study._storage.set_trial_state_values(waiting._trial_id, TrialState.RUNNING)
    assert lost
    assert not study._storage.set_trial_state_values(waiting._trial_id, TrialState.RUNNING)  # another call
    assert study.trials[0].state is TrialState.RUNNING


def test_a_claim_that_another_process_won_meanwhile_is_its_own(study: optuna.Study) -> None:
    study.enqueue_trial({"x": 1})
    [waiting] = study.trials
    storage, dialect = study._storage, study._storage._backend.engine.dialect  # type: ignore[attr-defined]
    commit, other = dialect.do_commit, open_storage(storage._backend.url, create=False)  # type: ignore[attr-defined]

    def lose_the_claim(connection: Any) -> None:
        dialect.do_commit = commit
        connection.rollback()
        with_its_own_call = retrying._local.call
        retrying._local.call = None
        assert other.set_trial_state_values(waiting._trial_id, TrialState.RUNNING)
        retrying._local.call = with_its_own_call
        raise sqlite3.OperationalError("server closed the connection unexpectedly")

    dialect.do_commit = lose_the_claim
    assert not storage.set_trial_state_values(waiting._trial_id, TrialState.RUNNING)


def test_a_result_whose_telling_was_not_answered_is_told_once(study: optuna.Study) -> None:
    trial = study.ask()
    lost = lose_the_answer(study)
    assert study._storage.set_trial_state_values(trial._trial_id, TrialState.COMPLETE, [0.5])
    assert lost
    assert [(t.state, t.value) for t in study.trials] == [(TrialState.COMPLETE, 0.5)]
    with pytest.raises(UpdateFinishedTrialError):
        study._storage.set_trial_state_values(trial._trial_id, TrialState.COMPLETE, [0.5])


Write = Callable[[Any, int, int], None]
WRITES: dict[str, Write] = {
    "param": lambda storage, _, trial: storage.set_trial_param(trial, "x", 0.5, FloatDistribution(0, 1)),
    "value": lambda storage, _, trial: storage.set_trial_intermediate_value(trial, 1, 0.5),
    "user": lambda storage, _, trial: storage.set_trial_user_attr(trial, "a", 1),
    "system": lambda storage, _, trial: storage.set_trial_system_attr(trial, "a", 1),
    "study user": lambda storage, study, _: storage.set_study_user_attr(study, "a", 1),
    "study system": lambda storage, study, _: storage.set_study_system_attr(study, "a", 1),
    "heartbeat": lambda storage, _, trial: storage.record_heartbeat(trial),
    "delete": lambda storage, study, _: storage.delete_study(study),
}


@pytest.mark.parametrize("write", WRITES)
def test_a_write_that_was_not_answered_is_made_again_as_if_it_had_been(study: optuna.Study, write: str) -> None:
    trial = study.ask()
    lost = lose_the_answer(study)
    WRITES[write](study._storage, study._study_id, trial._trial_id)
    assert lost
    if write == "delete":
        assert optuna.get_all_study_names(study._storage) == []
        return
    [found] = study.trials
    assert (found.params == {"x": 0.5}) == (write == "param")
    assert (found.intermediate_values == {1: 0.5}) == (write == "value")
    assert (found.user_attrs == {"a": 1}) == (write == "user")


def test_an_opened_storage_is_read_through_the_retried_methods(study: optuna.Study) -> None:
    assert isinstance(get_storage(study._storage._backend), _CachedStorage)  # type: ignore[attr-defined]
    assert isinstance(study._storage._backend, SQLiteStorage)  # type: ignore[attr-defined]
