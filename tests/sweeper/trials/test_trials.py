"""The trials of a study: whoever claims one tells the study how it ended, whatever comes between."""

from __future__ import annotations

import optuna
import pytest
from optuna.trial import Trial, TrialState

from mdaf.processes.interruption import Interrupted
from mdaf.sweeper.trials.trials import Trials
from mdaf.sweeper.trials.user_attrs import DIED, OUTCOME, RETRY_OF


@pytest.fixture
def trials() -> Trials:
    return Trials(optuna.create_study(), 3)


def claimed(trials: Trials) -> Trial:
    trial = trials.claim(trials.seen(), {})
    assert trial is not None
    trial.suggest_float("x", 0, 1)
    return trial


def test_a_process_that_is_asked_to_end_leaves_none_of_its_trials_running(trials: Trials) -> None:
    trials.__enter__()
    first, second = claimed(trials), claimed(trials)
    second.set_user_attr(OUTCOME, {"state": "COMPLETE", "values": [0.5]})  # its job had come to its end
    trials.__exit__(Interrupted, Interrupted("by SIGTERM"), None)
    left, ended, retry = trials.seen()
    assert (left.state, left.user_attrs[DIED]) == (TrialState.FAIL, "the sweep was interrupted")
    assert (ended.state, ended.value) == (TrialState.COMPLETE, 0.5)
    assert (retry.state, retry.user_attrs[RETRY_OF]) == (TrialState.WAITING, first.number)


def test_a_trial_whose_job_was_lost_is_let_go_of_and_its_point_is_tried_again(trials: Trials) -> None:
    trial = claimed(trials)
    trials.lost(trial, RuntimeError("the node is gone"))
    assert not trials.leases.held
    lost, retry = trials.seen()
    assert lost.user_attrs[DIED] == "its job was lost: the node is gone"
    assert claimed(trials).params == trial.params
    assert retry.number == 1


def test_a_failed_trial_is_retried_when_a_user_asks_for_it(trials: Trials) -> None:
    trial = claimed(trials)
    failure = trials.fail(trial, RuntimeError("no space left"))
    assert failure is not None
    assert not failure.retried
    assert trials.retry(trials.seen()[0]) == 1
    assert trials.retry(trials.seen()[0]) == 1  # once, however often it is asked for
    assert claimed(trials).params == trial.params
