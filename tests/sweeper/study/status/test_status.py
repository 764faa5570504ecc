"""What a study says of how far its sweep is, and how long the rest takes."""

from __future__ import annotations

from datetime import datetime, timedelta

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from mdaf.sweeper.study.status.block import rows_of, share_of
from mdaf.sweeper.study.status.pace import Pace, pace_of, seconds_left
from mdaf.sweeper.study.status.status import Reader, RunningTrial, Status
from mdaf.sweeper.trials.user_attrs import FAILED_TRIALS, INTERRUPTED, JOB, N_TRIALS, SAME_RUN_AS

NOON = datetime(2026, 1, 1, 12)


def trial(
    begins: float, ends: float | None, process: str = "a:1:2", state: TrialState = TrialState.COMPLETE, **also: object
) -> FrozenTrial:
    """A trial that ran from ``begins`` to ``ends`` seconds after noon."""
    one = create_trial(
        state=state,
        value=0.5 + begins / 1000 if state is TrialState.COMPLETE else None,
        params={"model.dropout": 0.25},
        distributions={"model.dropout": FloatDistribution(0, 1)},
        user_attrs={JOB: process, **also},
        intermediate_values={1: 0.5} if state is TrialState.RUNNING else {},
    )
    one.datetime_start = NOON + timedelta(seconds=begins)
    one.datetime_complete = None if ends is None else NOON + timedelta(seconds=ends)
    return one


def test_the_pace_leaves_out_the_first_trial_of_each_process_which_also_compiles() -> None:
    trials = [trial(0, 100), trial(100, 110), trial(110, 120), trial(0, 90, "b:1:2"), trial(90, 100, "b:1:2")]
    assert pace_of(trials) == Pace(10.0)


def test_all_replicas_of_a_process_that_began_together_are_its_first_ones() -> None:
    trials = [trial(0, 100), trial(1, 100), trial(100, 130), trial(100, 130)]
    assert pace_of(trials) == Pace(30.0)


def test_where_only_a_first_trial_has_ended_its_time_is_a_bound() -> None:
    assert pace_of([trial(0, 100)]) == Pace(100.0, at_most=True)
    assert pace_of([]) is None


def test_where_each_job_has_a_process_of_its_own_each_of_them_compiles() -> None:
    assert pace_of([trial(0, 100, "a:1:2"), trial(100, 180, "a:2:2")]) == Pace(90.0)


def test_a_trial_that_took_the_value_of_another_one_says_nothing_of_the_pace() -> None:
    trials = [trial(0, 100), trial(100, 110), trial(110, 110.1, **{SAME_RUN_AS: 1})]
    assert pace_of(trials) == Pace(10.0)


@pytest.mark.parametrize(
    ("waiting", "running", "at_once", "seconds"),
    [(4, [], 1, 40.0), (4, [], 2, 20.0), (4, [3.0], 1, 47.0), (0, [12.0], 1, 0.0), (4, [5.0, 5.0], 2, 25.0)],
)
def test_what_runs_already_counts_by_what_is_left_of_it(
    waiting: int, running: list[float], at_once: int, seconds: float
) -> None:
    assert seconds_left(Pace(10.0), waiting, running, at_once) == seconds


def test_a_timeout_ends_the_sweep_before_its_last_trial() -> None:
    status = Status("s", done=1, target=100, pace=Pace(10.0), ends_by=25.0)
    assert status.seconds_left(0.0) == 30.0  # a trial that runs at the timeout comes to its end


@pytest.fixture
def study() -> optuna.Study:
    made = optuna.create_study(study_name="s", direction="maximize")
    states = [TrialState.PRUNED, TrialState.FAIL]
    made.add_trials([trial(0, 100), *(trial(100, 110, state=state) for state in states), trial(110, 120)])
    made.add_trial(trial(120, None, state=TrialState.RUNNING))
    return made


@pytest.mark.parametrize(("failed_trials", "done"), [("replaced", 3), ("count", 4), (7, 3)])
def test_a_study_says_how_many_trials_are_done_and_of_how_many(
    study: optuna.Study, failed_trials: object, done: int
) -> None:
    study.set_user_attr(N_TRIALS, 8)
    study.set_user_attr(FAILED_TRIALS, failed_trials)
    status = Reader(study).read()
    rows = rows_of(status, (NOON + timedelta(seconds=125)).timestamp())
    assert rows["trials"] == f"{done} of 8 done, 1 pruned, 1 failed"
    assert rows["running"] == "trial 4 (5 s, epoch 1: 0.5)"
    assert rows["best"] == "trial 3 with 0.61: dropout=0.25"
    assert rows["left"] == f"about {10 * (7 - done) + 5} s, until 12:0{2 + (10 * (7 - done) + 10) // 60}"
    assert share_of(status) == done / 8


def test_an_interrupted_trial_is_no_failed_one(study: optuna.Study) -> None:
    study.add_trial(trial(110, 120, state=TrialState.FAIL, **{INTERRUPTED: "by SIGINT"}))
    rows = rows_of(Reader(study).read(), NOON.timestamp())
    assert rows["trials"] == "3 done, 1 pruned, 1 failed, 1 interrupted"


@pytest.mark.parametrize("said", [None, "many", True, -1])
def test_a_study_that_names_no_usable_target_shows_no_time_left(study: optuna.Study, said: object) -> None:
    if said is not None:
        study.set_user_attr(N_TRIALS, said)
    status = Reader(study).read()
    rows = rows_of(status, NOON.timestamp())
    assert rows["trials"] == "3 done, 1 pruned, 1 failed"
    assert "left" not in rows
    assert share_of(status) is None


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_the_block_loses_no_figure_at_any_width(columns: int) -> None:
    from rich.console import Console

    from mdaf.terminal.counting import block

    point = {f"regularization.parameter_{number}": 0.123456 + number for number in range(8)}
    running = [RunningTrial(number, 0.0, 3, 0.5791) for number in range(7)]
    status = Status("a-study" * 12, 12, 50, running, "trial 7 with 0.58931", point, 3, 1, pace=Pace(60.0))
    rows = rows_of(status, 30.0, "the study database, which has been away for 12 s")
    console = Console(width=columns, force_terminal=False)
    with console.capture() as captured:
        console.print(block(rows, share_of(status)))
    lines = captured.get().splitlines()
    assert max(map(len, lines)) <= columns
    told = " ".join(captured.get().split())
    for text in ("12 of 50 done, 3 pruned, 1 failed", "trial 3 (30 s, epoch 3: 0.5791) and 3 more", "0.58931"):
        assert text in told
    assert all(f"parameter_{number}={0.123456 + number:.4g}" in told for number in range(8))
