"""A study that is copied to another database and back is equal in everything that Optuna keeps."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import RDBStorage
from optuna.trial import TrialState, create_trial
from typer.testing import CliRunner, Result

from mdaf.sweeper.storage.opening import StorageError, open_storage
from mdaf.sweeper.study import copying
from mdaf.sweeper.study.cli import app
from mdaf.sweeper.study.copying import copy_study
from tests.sweeper import postgresql

SPACE: dict[str, BaseDistribution] = {
    "regularization.dropout": FloatDistribution(0.15, 0.35),
    "regularization.weight_decay": FloatDistribution(1e-5, 1e-4, log=True),
    "training.epochs": IntDistribution(1, 9, step=2),
    "model.fusion": CategoricalDistribution(("gate", None, 3, 0.1, True)),
}
POINT = {"regularization.dropout": 0.1 + 0.2, "regularization.weight_decay": 3e-5, "training.epochs": 3}


def write_study(url: str) -> None:
    """Trials of every state, with what is hard to keep: infinities, no numbers, other alphabets, the last bit."""
    storage = open_storage(url, create=True)
    optuna.create_study(study_name="other", storage=storage)  # so that keys of the tables are not the numbers
    study = optuna.create_study(study_name="s", storage=storage, directions=["maximize", "minimize"])
    study.set_user_attr("note", {"text": "größer ☃ 'quoted' \\ \n", "list": [1, 2.5, None]})
    storage.set_study_system_attr(study._study_id, "sampler:state", "x" * 5000)
    for state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING, TrialState.WAITING):
        for choice in ("gate", None):
            study.add_trial(
                create_trial(
                    state=state,
                    values=[math.inf if choice is None else 1 / 3, -0.0] if state is TrialState.COMPLETE else None,
                    params={**POINT, "model.fusion": choice},
                    distributions=SPACE,
                    user_attrs={"effective": {"a": [1.0, "b"]}, "lease_expires": 1795456003.0893002},
                    system_attrs={"fixed_params": {"x": 0.1}, "constraints": [math.pi, -1.0]},
                    intermediate_values={3: math.nan, 1: 0.1 + 0.7, 2: math.inf, 7: -math.inf, 5: 5e-324},
                )
            )
    study.ask()
    study.enqueue_trial({"regularization.dropout": 0.2}, user_attrs={"point": "weak"})


def beat(url: str) -> None:
    """A heartbeat for each running trial, as Optuna's own loop leaves them."""
    storage = RDBStorage(url, heartbeat_interval=60)
    for trial in optuna.load_study(study_name="s", storage=storage).get_trials(states=[TrialState.RUNNING]):
        storage.record_heartbeat(trial._trial_id)


def as_text(value: Any) -> str:
    """A value to the last bit, with which what is not a number equals itself; dicts have no order."""
    return repr(sorted(value.items())) if isinstance(value, dict) else repr(value)


def everything(url: str) -> dict[str, Any]:
    """What Optuna tells of the study, but for the keys of its tables."""
    storage = open_storage(url, create=False)
    assert isinstance(storage, RDBStorage)
    study = optuna.load_study(study_name="s", storage=storage)
    trials = [{name: as_text(value) for name, value in vars(trial).items()} for trial in study.get_trials()]
    for trial in trials:
        del trial["_trial_id"]
    heartbeats = sa.text(
        "SELECT number, heartbeat FROM trial_heartbeats JOIN trials USING (trial_id) JOIN studies USING (study_id) "
        "WHERE study_name = 's' ORDER BY number"
    ).columns(heartbeat=sa.DateTime)
    with storage.engine.connect() as connection:
        beats = [tuple(row) for row in connection.execute(heartbeats)]
    system = storage.get_study_system_attrs(study._study_id)
    return {"trials": trials, "directions": study.directions, "of": study.user_attrs, "system": system, "beats": beats}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = f"sqlite:///{tmp_path_factory.mktemp('source')}/s.db"
    write_study(url)
    beat(url)
    return url


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgresql.server() as url:
        yield url


def test_what_is_compared_holds_every_state_and_heartbeats(source: str) -> None:
    found = everything(source)
    assert {trial["state"] for trial in found["trials"]} == {repr(state) for state in TrialState}
    assert [type(beat) for _, beat in found["beats"]] == [datetime] * 3


def test_a_study_moves_to_another_file_equal_in_everything(source: str, tmp_path: Path) -> None:
    target = f"sqlite:///{tmp_path}/new/s.db"
    copied = copy_study(source, target, "s", running=True)
    assert everything(target) == everything(source)
    assert copied.trials == 11


def test_a_study_moves_to_postgresql_and_back_equal_in_everything(source: str, server: str, tmp_path: Path) -> None:
    copy_study(source, server, "s", running=True)
    assert everything(server) == everything(source)
    back = f"sqlite:///{tmp_path}/back.db"
    copy_study(server, back, "s", running=True)
    assert everything(back) == everything(source)


def test_a_copied_study_goes_on(source: str, tmp_path: Path) -> None:
    target = f"sqlite:///{tmp_path}/s.db"
    copy_study(source, target, "s", running=True)
    study = optuna.load_study(study_name="s", storage=open_storage(target, create=False))
    assert [study.ask().number for _ in range(4)] == [9, 10, 11, 12]  # those that wait, then new ones


def command(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["copy", *arguments])


def test_the_command_says_what_it_copied(source: str, tmp_path: Path) -> None:
    target = f"sqlite:///{tmp_path}/s.db"
    end = command(source, target, "--study", "s", "--running")
    assert end.exit_code == 0, end.output
    assert "study s: 11 trials" in end.stdout


def test_a_study_is_never_overwritten(source: str, tmp_path: Path) -> None:
    target = f"sqlite:///{tmp_path}/s.db"
    optuna.create_study(study_name="s", storage=open_storage(target, create=True))
    end = command(source, target, "--study", "s", "--running")
    assert end.exit_code == 2
    assert "holds a study s already, and it is not overwritten" in end.stderr


def test_a_study_with_running_trials_is_refused(source: str, tmp_path: Path) -> None:
    end = command(source, f"sqlite:///{tmp_path}/s.db", "--study", "s")
    assert end.exit_code == 2
    assert "study s has 3 RUNNING trials" in end.stderr


def test_a_journal_is_refused(source: str, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="a journal has no tables"):
        copy_study(source, f"journal:///{tmp_path}/s.log", "s", running=True)


def test_nothing_is_left_of_a_copy_that_fails_half_way(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("the network is gone")

    target = f"sqlite:///{tmp_path}/s.db"
    monkeypatch.setattr(copying, "_trial_ids", fail)  # after the study and its trials were written
    with pytest.raises(OSError, match="the network is gone"):
        copy_study(source, target, "s", running=True)
    assert optuna.get_all_study_names(open_storage(target, create=False)) == []
