"""How a trial's end is told to the study."""

from __future__ import annotations

import math
from typing import Any

import optuna
import pytest
from hydra.core.utils import JobReturn, JobStatus
from optuna.trial import Trial, TrialState

from mdaf.messages.reporting import is_out_of_memory
from mdaf.sweeper.trials.outcome import Failure, Objective, UnusableResultError, describe
from mdaf.sweeper.trials.trials import Trials
from mdaf.sweeper.trials.user_attrs import ERROR, MICRO_BATCH, RETRY_OF, RETRY_OVERRIDES, TRACEBACK


class OutOfMemoryError(RuntimeError):
    """Named like torch's."""


@pytest.fixture
def study() -> optuna.Study:
    return optuna.create_study(direction="maximize")


def returned(value: Any) -> JobReturn:
    status = JobStatus.FAILED if isinstance(value, Exception) else JobStatus.COMPLETED
    result = JobReturn(overrides=[], status=status)
    result.return_value = value
    return result


def asked(study: optuna.Study) -> Trial:
    trial = study.ask()
    trial.suggest_float("x", 0, 1)
    return trial


def raised(error: Exception) -> Exception:
    """The error as a job leaves it, with its traceback."""
    try:
        raise error
    except type(error) as caught:
        return caught


def test_a_number_completes_the_trial(study: optuna.Study) -> None:
    assert Trials(study).finish(asked(study), returned(0.5), None) is None
    assert (study.trials[0].state, study.trials[0].value) == (TrialState.COMPLETE, 0.5)


def test_several_objectives_take_several_numbers() -> None:
    study = optuna.create_study(directions=["maximize", "minimize"])
    assert Trials(study).finish(asked(study), returned((0.5, 0.1)), None) is None
    assert study.trials[0].values == [0.5, 0.1]
    failure = Trials(study).finish(asked(study), returned((0.5,)), None)
    assert isinstance(failure, Failure)
    assert "the job returned (0.5,), expected 2 numbers, one for each objective" in study.trials[1].user_attrs[ERROR]


def test_a_pruned_trial_keeps_its_last_value_and_nothing_is_said_of_an_error(
    study: optuna.Study, capsys: pytest.CaptureFixture[str]
) -> None:
    trial = asked(study)
    trial.report(0.4, 1)
    assert Trials(study).finish(trial, returned(optuna.TrialPruned("stopped")), None) is None
    assert (study.trials[0].state, study.trials[0].value) == (TrialState.PRUNED, 0.4)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("value", [math.nan, "many", None, (0.5, 0.6), RuntimeError("the disk is gone")])
def test_anything_else_fails_it_with_the_reason(study: optuna.Study, value: Any) -> None:
    failure = Trials(study).finish(asked(study), returned(value), 64)
    assert failure is not None
    assert not failure.retried
    [trial] = study.trials
    assert trial.state is TrialState.FAIL
    said = trial.user_attrs[ERROR]
    if isinstance(value, Exception):
        assert str(value) in said
    elif value is math.nan:
        assert "the objective is nan, expected finite numbers" in said
    else:
        assert f"the job returned {value!r}, expected a number" in said
    assert TRACEBACK in trial.user_attrs


@pytest.mark.parametrize("value", [1.0, None, [1.0, 2.0, 3.0]])
def test_where_there_are_two_objectives_anything_but_two_numbers_fails_it(value: Any) -> None:
    study = optuna.create_study(directions=["minimize", "minimize"])
    assert Trials(study).finish(asked(study), returned(value), None) is not None
    assert study.trials[0].state is TrialState.FAIL
    assert f"the job returned {value!r}, expected 2 numbers" in study.trials[0].user_attrs[ERROR]


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_an_infinite_value_fails_it(study: optuna.Study, value: float) -> None:
    assert Trials(study).finish(asked(study), returned(value), None) is not None
    assert study.trials[0].state is TrialState.FAIL
    assert f"the objective is {value}, expected finite numbers" in study.trials[0].user_attrs[ERROR]


class UnspokenError(RuntimeError):
    """An error of a library that cannot say what it is."""

    def __str__(self) -> str:
        raise AttributeError("code")


class Values:
    """What a library returns for several values."""

    def __float__(self) -> float:
        raise RuntimeError("cannot be converted to a scalar")

    def __repr__(self) -> str:
        raise RuntimeError("is on another device")


@pytest.mark.parametrize("value", [10**400, 10**5000, Values()], ids=["large", "unprintable", "several"])
def test_a_result_that_cannot_be_converted_fails_its_trial_alone_whatever_error_that_raises(
    study: optuna.Study, value: Any
) -> None:
    failure = Trials(study).finish(asked(study), returned(value), None)
    assert failure is not None
    assert isinstance(failure.error, UnusableResultError)  # which ends no sweep
    assert "the job returned " in study.trials[0].user_attrs[ERROR]
    assert len(study.trials[0].user_attrs[ERROR]) < 300


def test_a_constraint_that_cannot_be_converted_fails_its_trial_alone(study: optuna.Study) -> None:
    objective = Objective(["loss"], {"gap": 0.1})
    failure = Trials(study, objective=objective).finish(asked(study), returned({"loss": 1, "gap": 10**400}), None)
    assert failure is not None
    assert isinstance(failure.error, UnusableResultError)


def test_an_error_that_cannot_say_what_it_is_fails_its_trial_with_its_kind(study: optuna.Study) -> None:
    assert Trials(study).finish(asked(study), returned(raised(UnspokenError())), None) is not None
    assert study.trials[0].user_attrs[ERROR] == "UnspokenError"
    assert "in raised" in study.trials[0].user_attrs[TRACEBACK]


def test_of_an_error_of_megabytes_the_study_keeps_the_beginning(study: optuna.Study) -> None:
    Trials(study).finish(asked(study), returned(raised(RuntimeError("the batch: " + "7 " * 10**6))), None)
    kept = study.trials[0].user_attrs
    assert kept[ERROR].startswith("RuntimeError: the batch: 7 7")
    assert max(len(kept[ERROR]), len(kept[TRACEBACK])) < 20_000


def test_a_traceback_says_where_and_holds_no_password() -> None:
    attributes = describe(raised(RuntimeError("no route to postgresql://me:hunter2@host/db")))
    assert "in raised" in attributes[TRACEBACK]
    assert attributes[ERROR] == "RuntimeError: no route to postgresql://me:***@host/db"
    assert "hunter2" not in attributes[TRACEBACK]


def test_what_the_job_wrote_of_its_error_stays(study: optuna.Study) -> None:
    trial = asked(study)
    trial.set_user_attr(TRACEBACK, "where it happened")
    Trials(study).finish(trial, returned(RuntimeError("remote")), None)
    assert study.trials[0].user_attrs[TRACEBACK] == "where it happened"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OutOfMemoryError("CUDA"),
        RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
        RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"),
        RuntimeError("Remote torch.OutOfMemoryError: CUDA"),
    ],
)
def test_a_trial_out_of_memory_is_tried_again_once_with_half_the_micro_batch(
    study: optuna.Study, error: Exception
) -> None:
    first = asked(study)
    first.set_user_attr(MICRO_BATCH, 256)
    failure = Trials(study).finish(first, returned(error), 64)
    assert failure is not None
    assert failure.retried
    again = asked(study)
    assert again.params == first.params
    assert again.user_attrs[RETRY_OF] == 0
    assert again.user_attrs[RETRY_OVERRIDES] == ["device.micro_batch=128"]
    again.set_user_attr(MICRO_BATCH, 128)
    failure = Trials(study).finish(again, returned(error), 64)
    assert failure is not None
    assert not failure.retried
    assert len(study.trials) == 2


def test_memory_may_run_out_in_the_cause_and_other_errors_are_not_about_memory() -> None:
    outer = RuntimeError("the job failed")
    outer.__cause__ = MemoryError()
    assert is_out_of_memory(outer)
    assert not is_out_of_memory(RuntimeError("the disk is full"))


def test_a_single_sample_cannot_be_halved(study: optuna.Study) -> None:
    failure = Trials(study).finish(asked(study), returned(MemoryError()), 1)
    assert failure is not None
    assert not failure.retried


def test_the_result_of_a_trial_that_was_given_up_meanwhile_is_not_counted(study: optuna.Study) -> None:
    for value in (0.5, RuntimeError("late"), optuna.TrialPruned()):
        trial = asked(study)
        study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
        assert Trials(study).finish(trial, returned(value), None) is None
    assert [trial.state for trial in study.trials] == [TrialState.FAIL] * 3
