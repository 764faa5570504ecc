"""When a sweep ends before its trials are used up."""

from __future__ import annotations

import math
import time
from datetime import datetime, timedelta
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from mdaf.sweeper.search.settings import Plateau, SweepSettings
from mdaf.sweeper.search.stopping import Stopping, TooManyFailuresError
from mdaf.sweeper.trials.user_attrs import DIED, ERROR


def study_of(*outcomes: float | str, direction: str = "maximize") -> optuna.Study:
    """Trials that ended a second apart: a value, or a state's name."""
    study = optuna.create_study(study_name="s", direction=direction)
    first = datetime.now() - timedelta(seconds=100)
    for number, outcome in enumerate(outcomes):
        ended = first + timedelta(seconds=number)
        if isinstance(outcome, str):
            attributes = {ERROR: "RuntimeError: the disk is gone"} if outcome == "FAIL" else {DIED: "killed"}
            state = TrialState.PRUNED if outcome == "PRUNED" else TrialState.FAIL
            trial = create_trial(state=state, user_attrs={} if outcome == "PRUNED" else attributes)
        else:
            trial = create_trial(value=outcome)
        trial.datetime_start, trial.datetime_complete = first, ended
        study.add_trial(trial)
    return study


def reason(study: optuna.Study, began: float | None = None, **criteria: Any) -> str | None:
    settings = SweepSettings(storage="sqlite:///s.db", **criteria)
    stopping = Stopping(time.time() - 200 if began is None else began, settings)
    return stopping.reason(study, study.trials)


def test_without_a_criterion_a_sweep_does_not_end_early() -> None:
    assert reason(study_of(0.5, "FAIL", "FAIL", "FAIL", "FAIL", 0.5, 0.5)) is None


@pytest.mark.parametrize("outcomes", [["FAIL"] * 8, ["FAIL", 0.5, "KILLED"] * 8, ["FAIL", "PRUNED"] * 8])
def test_without_a_bound_twice_as_many_failures_as_trials_end_the_sweep(outcomes: list[float | str]) -> None:
    study = study_of(*outcomes)
    assert reason(study, n_trials=5) is None
    with pytest.raises(TooManyFailuresError, match=r"^8 trials failed and the study is to have 4 .*the same command"):
        reason(study, n_trials=4)
    with pytest.raises(TooManyFailuresError):
        reason(study, n_trials=1)
    assert reason(study, n_trials=1, max_failures=math.inf) is None


def test_no_trial_is_begun_after_the_timeout() -> None:
    assert reason(study_of(0.5), timeout=1000) is None
    assert "timeout" in str(reason(study_of(0.5), timeout=100))


@pytest.mark.parametrize(("direction", "better", "worse"), [("maximize", 0.7, 0.5), ("minimize", 0.5, 0.7)])
def test_a_value_as_good_as_the_target_ends_the_sweep(direction: str, better: float, worse: float) -> None:
    assert reason(study_of(worse, direction=direction), target=0.6) is None
    assert "target is 0.6" in str(reason(study_of(worse, better, worse, direction=direction), target=0.6))


def test_a_trial_that_breaks_a_constraint_does_not_reach_the_target() -> None:
    study = study_of()
    study.add_trial(create_trial(value=0.9, system_attrs={"constraints:train_auc": 0.1}))
    assert reason(study, target=0.6) is None


def test_a_plateau_is_so_many_trials_without_a_gain_of_more_than_epsilon() -> None:
    criteria = {"plateau": Plateau(trials=3, epsilon=0.01)}
    assert reason(study_of(0.5, 0.6, 0.6), **criteria) is None
    assert reason(study_of(0.5, 0.6, 0.55, 0.6), **criteria) is None
    assert "last 3 trials" in str(reason(study_of(0.5, 0.6, 0.55, 0.605, 0.609), **criteria))
    assert reason(study_of(0.5, 0.6, 0.55, 0.605, 0.62), **criteria) is None
    assert reason(study_of(0.5, 0.6, "PRUNED", "PRUNED", "PRUNED"), **criteria) is not None


def test_so_many_failures_in_a_row_end_the_sweep_with_what_they_were() -> None:
    assert reason(study_of("FAIL", "FAIL", 0.5, "FAIL", "FAIL"), max_failures=3) is None
    with pytest.raises(TooManyFailuresError) as error:
        reason(study_of(0.5, "FAIL", "FAIL", "FAIL"), max_failures=3)
    named = ("3 trials in a row", "hydra.sweeper.max_failures=3", "trial 1: RuntimeError: the disk is gone")
    for part in (*named, "mdaf-study show 3 --study s"):
        assert part in str(error.value)
    assert "\n" not in str(error.value)


def test_a_killed_process_is_no_failure_and_neither_are_those_of_an_earlier_sweep() -> None:
    assert reason(study_of("FAIL", "FAIL", "KILLED"), max_failures=3) is None
    assert reason(study_of("FAIL", "FAIL", "FAIL"), max_failures=3, began=time.time()) is None
