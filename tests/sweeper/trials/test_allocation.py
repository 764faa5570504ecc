"""Allocation: exactly so many trials finish, and planned points are had once."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import Trial, TrialState, create_trial

from mdaf.processes.identity import this_process
from mdaf.sweeper.storage.opening import open_storage
from mdaf.sweeper.trials.leases import Leases
from mdaf.sweeper.trials.trials import Trials
from mdaf.sweeper.trials.user_attrs import LEASE_EXPIRES, POINT, RETRY, WITHDRAWN, WORKER

SPACE = {"x": FloatDistribution(0, 1)}
GRID = [("grid", {"x": n / 20}) for n in range(20)]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/s.db"


@pytest.fixture
def study(url: str) -> optuna.Study:
    return optuna.create_study(
        study_name="s", storage=open_storage(url, create=True), sampler=optuna.samplers.RandomSampler(seed=1)
    )


@pytest.fixture
def leases(study: optuna.Study) -> Iterator[Leases]:
    with Leases(study._storage) as leases:
        yield leases


def claim(trials: Trials, **attributes: Any) -> Trial | None:
    return trials.claim(trials.seen(), attributes)


def test_a_trial_has_a_holder_and_its_attributes_from_its_first_moment(study: optuna.Study, leases: Leases) -> None:
    trial = claim(Trials(study, 1, leases=leases), overrides=["a=1"])
    assert trial is not None
    [stored] = study.trials
    assert stored.state is TrialState.RUNNING
    assert stored.user_attrs[WORKER] == this_process()
    assert stored.user_attrs[LEASE_EXPIRES] > 0
    assert stored.user_attrs["overrides"] == ["a=1"]
    assert leases.held == {trial._trial_id}


def test_no_more_trials_are_handed_out_than_are_to_finish(study: optuna.Study, leases: Leases) -> None:
    trials = Trials(study, 2, leases=leases)
    first, second = claim(trials), claim(trials)
    assert first is not None
    assert second is not None
    assert claim(trials) is None
    study.tell(first, 0.5)
    assert claim(trials) is None
    study.tell(second, state=TrialState.FAIL)
    assert not trials.is_over(study.trials)
    third = claim(trials)
    assert third is not None
    study.tell(third, 0.5)
    assert claim(trials) is None
    assert trials.is_over(study.trials)


def test_another_programs_running_trial_does_not_count(study: optuna.Study, leases: Leases) -> None:
    study.ask()
    assert claim(Trials(study, 1, leases=leases)) is not None


def test_planned_points_come_first_and_in_their_order(study: optuna.Study, leases: Leases) -> None:
    planned = [("weak", {"x": 0.1}), ("strong", {"x": 0.9})]
    trials = Trials(study, 3, leases=leases, planned=planned)
    claimed = [claim(trials) for _ in range(3)]
    points = [trial._suggest("x", SPACE["x"]) for trial in claimed if trial is not None]
    assert points[:2] == [0.1, 0.9]
    assert points[2] not in (0.1, 0.9)
    assert [trial.user_attrs.get(POINT) for trial in study.trials] == ["weak", "strong", None]


def test_a_planned_point_that_the_study_has_had_is_not_tried_again(study: optuna.Study, leases: Leases) -> None:
    study.add_trial(create_trial(params={"x": 0.1, "y": 0.2}, distributions=SPACE | {"y": SPACE["x"]}, value=1.0))
    trials = Trials(study, 5, leases=leases, planned=[("weak", {"x": 0.1})])
    assert claim(trials) is not None
    assert POINT not in study.trials[1].user_attrs


def test_a_retry_comes_before_anything_new_and_counts_for_the_one_that_died(
    study: optuna.Study, leases: Leases
) -> None:
    trials = Trials(study, 1, leases=leases)
    dead = claim(trials)
    assert dead is not None
    dead._suggest("x", SPACE["x"])
    trials.give_up(study.trials[0], "gone")
    assert claim(trials) is None  # the retry counts already, which whoever gave the trial up enqueues
    trials.retries.enqueue_owed(at_once=[0])
    retry = claim(trials)
    assert retry is not None
    assert retry._suggest("x", SPACE["x"]) == dead.params["x"]
    assert claim(trials) is None
    assert RETRY in study.trials[0].user_attrs


def test_a_trial_that_another_program_enqueued_is_run_and_held(study: optuna.Study, leases: Leases) -> None:
    study.enqueue_trial({"x": 0.25})
    trial = claim(Trials(study, 1, leases=leases))
    assert trial is not None
    assert trial._suggest("x", SPACE["x"]) == 0.25
    assert study.trials[0].user_attrs[WORKER] == this_process()


def _sweep_in_threads(url: str, n_trials: int, **settings: Any) -> list[optuna.trial.FrozenTrial]:
    """Four workers on one study, each with its own connection, that begin at the same moment."""
    barrier = threading.Barrier(4)

    def work() -> None:
        study = optuna.load_study(
            study_name="s", storage=open_storage(url, create=False), sampler=optuna.samplers.RandomSampler()
        )
        with Leases(study._storage) as leases:
            trials = Trials(study, n_trials, leases=leases, **settings)
            barrier.wait()
            while not trials.is_over(seen := trials.seen()):
                trial = trials.claim(seen, {})
                if trial is not None:
                    study.tell(trial, trial._suggest("x", SPACE["x"]))
                    leases.release(trial._trial_id)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return optuna.load_study(study_name="s", storage=open_storage(url, create=False)).trials


@pytest.mark.parametrize("scheme", ["sqlite", "journal"])
def test_workers_that_race_finish_exactly_the_trials(tmp_path: Path, scheme: str) -> None:
    url = f"{scheme}:///{tmp_path}/race.db"
    optuna.create_study(study_name="s", storage=open_storage(url, create=True))
    trials = _sweep_in_threads(url, 17)
    assert Counter(trial.state for trial in trials)[TrialState.COMPLETE] == 17
    assert all(WITHDRAWN in trial.user_attrs for trial in trials if trial.state is not TrialState.COMPLETE)


def test_workers_that_race_have_every_planned_point_once(study: optuna.Study, url: str) -> None:
    trials = _sweep_in_threads(url, 100, planned=GRID, only_planned=True)
    finished = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    assert sorted(trial.params["x"] for trial in finished) == [point["x"] for _, point in GRID]
