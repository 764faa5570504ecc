"""A run that the study has had is not done again, unless that is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from omegaconf import DictConfig
from optuna.trial import Trial, TrialState

import mdaf
from mdaf.errors import UserError
from mdaf.sweeper.search.points.tried_points import REDRAWS, TriedPoints
from mdaf.sweeper.trials.trials import Trials
from mdaf.sweeper.trials.user_attrs import OVERRIDES, RUN_CONFIG, SAME_RUN_AS, WITHDRAWN
from tests.sweeper.sphere import Swept, sphere, sweep

THREE = ("x=choice(0,1,2)", "hydra.sweeper.n_trials=8", "hydra.sweeper.sampler.seed=1")
DRAW, AGAIN = (f"hydra.sweeper.tried_points={choice}" for choice in ("draw_another", "run_again"))


def points(swept: Swept) -> list[Any]:
    """The x of the jobs that ran, in their order."""
    return [swept.jobs[number].x for number in sorted(swept.jobs)]


def test_a_point_that_was_tried_takes_its_value_and_no_job_runs(tmp_path: Path) -> None:
    swept = sweep(tmp_path, *THREE)
    trials = swept.study.trials
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 8
    assert sorted(points(swept)) == sorted({trial.params["x"] for trial in trials})
    for trial in trials:
        assert trial.values == [trial.params["x"] ** 2 + 1]
        if (first := trial.user_attrs.get(SAME_RUN_AS)) is not None:
            assert trials[first].params == trial.params
            assert trial.number not in swept.jobs
    assert swept.results.best_trial in swept.jobs


def test_every_trial_is_run_where_that_is_asked_for(tmp_path: Path) -> None:
    assert len(sweep(tmp_path, *THREE, AGAIN).jobs) == 8


def test_another_point_is_drawn_until_none_is_left(tmp_path: Path) -> None:
    space = ("x=choice(0,1,2)", "y=choice(0,1)", "hydra/sweeper/sampler=random", "hydra.sweeper.sampler.seed=1")
    swept = sweep(tmp_path, *space, DRAW, "hydra.sweeper.n_trials=6")
    assert sorted((job.x, job.y) for job in swept.jobs.values()) == [(x, y) for x in (0, 1, 2) for y in (0, 1)]
    finished = [trial for trial in swept.study.trials if trial.state is TrialState.COMPLETE]
    assert len(finished) == 6
    assert not any(SAME_RUN_AS in trial.user_attrs for trial in finished)
    withdrawn = [trial for trial in swept.study.trials if trial.state is TrialState.FAIL]
    assert withdrawn
    assert all("has the same point, so another one is drawn" in trial.user_attrs[WITHDRAWN] for trial in withdrawn)


def test_a_space_without_a_new_point_ends_with_the_values_of_the_old_ones(tmp_path: Path) -> None:
    swept = sweep(tmp_path, "x=choice(0,1)", DRAW, "hydra.sweeper.n_trials=4", "hydra/sweeper/sampler=random")
    complete = [trial for trial in swept.study.trials if trial.state is TrialState.COMPLETE]
    assert (len(complete), sorted(points(swept))) == (4, [0, 1])


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ("seed=1", "seed=2"),  # another fixed override
        ("seed=null", "seed=null"),  # each run draws a seed
    ],
)
def test_another_seed_is_another_run(tmp_path: Path, before: str, now: str) -> None:
    space = ("x=choice(1)", "hydra.sweeper.sampler.seed=1", "hydra.sweeper.force=true")
    sweep(tmp_path, *space, before, "hydra.sweeper.n_trials=1")
    assert sorted(sweep(tmp_path, *space, now, "hydra.sweeper.n_trials=2").jobs) == [1]
    assert not sweep(tmp_path, *space, "seed=1", "hydra.sweeper.n_trials=3").jobs or before == "seed=null"


def test_a_config_whose_seed_is_null_has_no_run_twice(tmp_path: Path) -> None:
    swept = sweep(tmp_path, *THREE, config="model: {random_state: null}\n")
    assert len(swept.jobs) == 8
    assert not any(RUN_CONFIG in trial.user_attrs for trial in swept.study.trials)


def test_another_config_is_another_run(tmp_path: Path) -> None:
    space = ("x=choice(1)", "hydra.sweeper.force=true")
    sweep(tmp_path, *space, "hydra.sweeper.n_trials=1", config="depth: 1\n")
    assert sorted(sweep(tmp_path, *space, "hydra.sweeper.n_trials=2", config="depth: 2\n").jobs) == [1]
    assert not sweep(tmp_path, *space, "hydra.sweeper.n_trials=3", config="depth: 1\n").jobs


def test_an_environment_variable_in_the_config_is_a_part_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = "depth: ${oc.env:DEPTH}\nfolder: ${hydra:runtime.output_dir}\n"  # the latter only a job knows
    for number, depth, runs in ((1, "1", 1), (2, "2", 1), (3, "1", 0)):
        monkeypatch.setenv("DEPTH", depth)
        assert len(sweep(tmp_path, "x=choice(1)", f"hydra.sweeper.n_trials={number}", config=config).jobs) == runs


def test_a_failed_point_is_run_again(tmp_path: Path) -> None:
    calls = iter(range(100))

    def task(cfg: DictConfig) -> float:
        if next(calls) == 0:
            raise RuntimeError("the disk is gone")
        return sphere(cfg)

    settings = ("x=choice(1)", "hydra.sweeper.n_trials=4", "hydra.sweeper.max_failure_rate=1.0")
    swept = sweep(tmp_path, *settings, task=task)
    assert [trial.state.name for trial in swept.study.trials] == ["FAIL", "COMPLETE", "COMPLETE", "COMPLETE"]
    assert sorted(swept.jobs) == [0, 1]


def conditional(cfg: DictConfig, trial: Trial) -> None:
    """A custom search space with a parameter that only some points have."""
    if trial.params["x"] > 0:
        trial.suggest_categorical("y", [1, 2])


def test_what_a_custom_search_space_suggests_belongs_to_the_point(tmp_path: Path) -> None:
    space = ("x=choice(0,1)", f"hydra.sweeper.custom_search_space={conditional.__module__}.conditional")
    swept = sweep(tmp_path, *space, "hydra/sweeper/sampler=random", "hydra.sweeper.n_trials=12", config="")
    found = [tuple(sorted(trial.params.items())) for trial in swept.study.trials]
    assert len(swept.jobs) == len(set(found))
    assert {len(point) for point in found} == {1, 2}


@pytest.mark.parametrize(("pruner", "jobs"), [("median", 3), ("none", 4)])
def test_a_pruned_point_is_pruned_again_where_a_pruner_is_asked(tmp_path: Path, pruner: str, jobs: int) -> None:
    def task(cfg: DictConfig) -> float:
        trial = mdaf.attach()
        trial.report(1, cfg.x)
        return float(cfg.x)

    known = "hydra.sweeper.enqueue={a: {x: 0}, b: {x: 0.5}, c: {x: 1}}"
    median = ("hydra/sweeper/pruner=median", "hydra.sweeper.pruner.n_startup_trials=1")
    settings = ("x=choice(0,0.5,1)", known)
    first = sweep(tmp_path, *settings, *median, "hydra.sweeper.n_trials=3", task=task)
    assert [trial.state.name for trial in first.study.trials][2] == "PRUNED"
    first.study.enqueue_trial({"x": 1})  # and another process asks for the point once more
    second = sweep(tmp_path, *settings, f"hydra/sweeper/pruner={pruner}", "hydra.sweeper.n_trials=4", task=task)
    assert len(first.jobs) + len(second.jobs) == jobs
    last = second.study.trials[3]
    if pruner == "median":
        assert (last.state.name, last.value, last.user_attrs[SAME_RUN_AS]) == ("PRUNED", 1.0, 2)
    else:
        assert last.state.name == "COMPLETE"


def test_what_the_job_recorded_is_taken_along(tmp_path: Path) -> None:
    def task(cfg: DictConfig) -> float:
        mdaf.attach().record({"gap": 0.5, "note": "mine"})
        return float(cfg.x)

    constrained = ("hydra.sweeper.constraints={gap: 0.2}", "x=choice(1)", "hydra.sweeper.n_trials=2")
    first, second = sweep(tmp_path, *constrained, task=task).study.trials
    assert second.user_attrs[SAME_RUN_AS] == first.number
    assert (second.user_attrs["gap"], second.user_attrs["note"]) == (0.5, "mine")
    assert second.constraints == first.constraints == {"gap": 0.3}


def test_an_unknown_choice_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"tried_points: found take_values; did you mean take_value\?"):
        sweep(tmp_path, *THREE, "hydra.sweeper.tried_points=take_values")


# ---- several processes


def claimed(trials: Trials, x: int) -> Trial:
    """A trial of this process at a point, as a sweep claims it."""
    trial = trials.claim(trials.seen(), {OVERRIDES: ["seed=1"], RUN_CONFIG: "0123456789ab"})
    assert trial is not None
    trial.suggest_int("x", x, x)
    return trial


@pytest.mark.parametrize("choice", ["take_value", "draw_another"])
def test_of_two_processes_that_draw_one_point_at_once_one_draws_another(choice: str) -> None:
    study = optuna.create_study()
    mine, theirs = (TriedPoints(Trials(study, 10), choice) for _ in range(2))
    first, second, third = claimed(mine.trials, 0), claimed(theirs.trials, 0), claimed(theirs.trials, 1)
    assert [mine.need_no_job(first), theirs.need_no_job(second), theirs.need_no_job(third)] == [True, False, False]
    assert [trial.state.name for trial in study.trials] == ["FAIL", "RUNNING", "RUNNING"]


def test_a_point_that_runs_elsewhere_is_drawn_again_so_often_and_then_run_twice() -> None:
    study = optuna.create_study()
    trials = Trials(study, 100)
    tried = TriedPoints(trials, "take_value")
    assert not tried.need_no_job(claimed(trials, 0))
    for _ in range(REDRAWS):
        assert tried.need_no_job(claimed(trials, 0))
    assert [trial.state.name for trial in study.trials[1:]] == ["FAIL"] * REDRAWS
    assert not tried.need_no_job(claimed(trials, 0))
