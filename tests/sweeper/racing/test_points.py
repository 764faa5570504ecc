"""A study's points: what their runs say, and which one is named."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial
from typer.testing import CliRunner

from mdaf.sweeper.racing.cube import Cube
from mdaf.sweeper.racing.points import points
from mdaf.sweeper.storage.opening import open_storage
from mdaf.sweeper.study.cli import app
from mdaf.sweeper.study.winners import ranked
from mdaf.sweeper.trials.points.same_point import point_id
from mdaf.sweeper.trials.user_attrs import FAILED_BY, POINT, POINT_ID, SAME_RUN_AS, SEED

SPACE: dict[str, BaseDistribution] = {"x": FloatDistribution(0, 1)}


def run(study: optuna.Study, x: float, seed: int | None, value: float | None, **attributes: Any) -> None:
    """A run that finished with this value; that diverged without one."""
    seeded = {} if seed is None else {SEED: seed, POINT_ID: point_id({"x": x})}
    failed = {FAILED_BY: "point"} if value is None else {}
    state = TrialState.FAIL if value is None else TrialState.COMPLETE
    study.add_trial(
        create_trial(
            state=state,
            params={"x": x},
            distributions=SPACE,
            value=value,
            user_attrs={**seeded, **failed, **attributes},
        )
    )


@pytest.fixture
def study(tmp_path: Path) -> optuna.Study:
    """A point with four good runs, one with a single lucky run far away, and several bad ones."""
    storage = open_storage(f"sqlite:///{tmp_path}/s.db", create=True)
    study = optuna.create_study(study_name="s", storage=storage, direction="maximize")
    for seed, value in enumerate((0.690, 0.710, 0.700, 0.704)):
        run(study, 0.3, seed, value, **{POINT: "balanced"})
    for x, value in ((0.1, 0.60), (0.5, 0.61), (0.7, 0.5), (0.8, 0.52), (0.95, 0.715), (0.9, 0.48), (1.0, 0.5)):
        run(study, x, 0, value)
    return study


def test_a_point_has_the_mean_of_its_runs_its_error_and_a_posterior_mean(study: optuna.Study) -> None:
    best, *others = points(study.trials, maximize=True)
    assert (best.params, best.name, best.trials, best.seeds) == ({"x": 0.3}, "balanced", (0, 1, 2, 3), (0, 1, 2, 3))
    assert best.mean == pytest.approx(0.701)
    assert best.standard_error == pytest.approx(math.sqrt((0.011**2 + 0.009**2 + 0.001**2 + 0.003**2) / 3 / 4))
    lucky = next(point for point in others if point.params["x"] == 0.95)
    assert lucky.standard_error is None
    assert lucky.posterior_mean < best.posterior_mean < lucky.mean


def test_where_smaller_is_better_the_smallest_is_named(study: optuna.Study) -> None:
    mirrored = optuna.create_study(direction="minimize")
    for trial in study.trials:
        run(mirrored, trial.params["x"], trial.user_attrs[SEED], -trial.values[0])
    ours, theirs = points(study.trials, maximize=True), points(mirrored.trials, maximize=False)
    assert [point.params for point in ours] == [point.params for point in theirs]
    assert [point.posterior_mean for point in ours] == pytest.approx([-point.posterior_mean for point in theirs])


def test_a_run_that_diverged_counts_as_the_worst_value_for_the_posterior_alone(study: optuna.Study) -> None:
    before = points(study.trials, maximize=True)[0]
    for seed in (4, 5, 6):
        run(study, 0.3, seed, None)
    after = next(point for point in points(study.trials, maximize=True) if point.params["x"] == 0.3)
    assert (after.diverged, after.mean, after.trials) == (3, before.mean, before.trials)
    assert after.posterior_mean < before.posterior_mean - 0.02


def test_a_point_that_breaks_a_constraint_is_never_the_first(study: optuna.Study) -> None:
    trials = study.trials
    trials[2] = create_trial(
        params={"x": 0.3}, distributions=SPACE, value=0.7, user_attrs=trials[2].user_attrs, constraints={"gap": 0.1}
    )
    trials[2].number = 2
    assert points(trials, maximize=True)[-1].params == {"x": 0.3}


def test_a_study_of_an_earlier_version_is_read_and_has_one_run_a_point() -> None:
    study = optuna.create_study(direction="maximize")
    for x in (0.1, 0.2, 0.3):
        run(study, x, None, x)
    found = points(study.trials, maximize=True)
    assert [point.params["x"] for point in found] == [0.3, 0.2, 0.1]
    assert all(point.seeds == (None,) for point in found)


def test_a_trial_that_took_the_value_of_another_is_no_further_run_of_its_point(study: optuna.Study) -> None:
    before = points(study.trials, maximize=True)
    for _ in range(5):
        run(study, 0.95, None, 0.715, **{SAME_RUN_AS: 8})
    assert points(study.trials, maximize=True) == before
    assert sorted(trial.number for trial in ranked(study)) == list(range(16))


def test_values_whose_squares_are_too_large_for_a_float_have_a_mean_and_an_error(study: optuna.Study) -> None:
    for seed, value in enumerate((1.5e308, 1.6e308)):
        run(study, 0.2, seed, -value)
    found = next(point for point in points(study.trials, maximize=True) if point.params["x"] == 0.2)
    assert found.mean == pytest.approx(-1.55e308)
    assert found.standard_error == pytest.approx(5e306)
    assert -1.7e308 < found.posterior_mean < -1e308
    assert points(study.trials, maximize=True)[-1] == found


def test_the_best_of_a_race_is_the_point_with_the_best_posterior_mean(study: optuna.Study, tmp_path: Path) -> None:
    firsts = [point.trials[0] for point in points(study.trials, maximize=True)]
    assert [trial.number for trial in ranked(study)[:8]] == firsts
    assert firsts[0] == 0
    assert sorted(trial.number for trial in ranked(study)) == list(range(11))
    answer = CliRunner().invoke(app, ["best", "--storage", f"sqlite:///{tmp_path}/s.db", "--study", "s"])
    assert answer.exit_code == 0, answer.output
    assert "expected" in answer.output
    assert "0.701 " in answer.output  # the mean of four runs


# ---- the space as a cube


SEVERAL: dict[str, BaseDistribution] = {
    "rate": FloatDistribution(1e-5, 1e-1, log=True),
    "width": IntDistribution(8, 512, log=True),
    "layers": IntDistribution(1, 7, step=2),
    "rounded": FloatDistribution(0.0, 0.3, step=0.1),
    "kind": CategoricalDistribution(["gate", "null", "[8,16]"]),
    "fixed": FloatDistribution(2.0, 2.0),
}


def test_numbers_lie_between_0_and_1_by_their_logarithm_and_choices_are_one_apart() -> None:
    cube = Cube(SEVERAL)
    low = {"rate": 1e-5, "width": 8, "layers": 1, "rounded": 0.0, "kind": "gate", "fixed": 2.0}
    other = {"rate": 1e-3, "width": 64, "layers": 7, "rounded": 0.3, "kind": "null", "fixed": 2.0}
    a, b = cube.coordinates([low, other])
    assert list(a[:4]) == [0, 0, 0, 0]
    assert list(b[:4]) == pytest.approx([0.5, 0.5, 1, 1])
    assert math.dist(a[4:7], b[4:7]) == pytest.approx(1)
    assert cube.searched == 5


def test_points_that_are_drawn_are_points_of_the_space_with_their_coordinates() -> None:
    cube = Cube(SEVERAL)
    uniform = np.vstack([np.random.default_rng(1).random((200, 6)), np.zeros((1, 6)), np.ones((1, 6))])
    drawn, coordinates = cube.at(uniform)
    for point in drawn:
        for name, value in point.items():
            kind = SEVERAL[name]
            assert kind._contains(kind.to_internal_repr(value)), (name, value)
            assert isinstance(value, str if name == "kind" else int if name in ("width", "layers") else float)
    assert (coordinates == cube.coordinates(drawn)).all()
    assert {point["layers"] for point in drawn} == {1, 3, 5, 7}
    assert {point["kind"] for point in drawn} == {"gate", "null", "[8,16]"}


@pytest.mark.parametrize(
    "point", [{"x": 1.0}, {"rate": 0.0}, {"kind": "bst"}, {"width": "wide"}, {"layers": True}, {"extra": 1}]
)
def test_a_point_that_the_space_cannot_hold_is_not_taken(point: dict[str, Any]) -> None:
    whole = {"rate": 1e-5, "width": 8, "layers": 1, "rounded": 0.0, "kind": "gate", "fixed": 2.0}
    assert Cube(SEVERAL).holds(whole)
    assert not Cube(SEVERAL).holds({**whole, **point})


def test_a_failed_run_of_a_race_can_be_tried_again_although_its_point_had_another_seed(
    study: optuna.Study, tmp_path: Path
) -> None:
    run(study, 0.3, 9, None)
    run(study, 0.3, 10, 0.7)
    answer = CliRunner().invoke(
        app, ["retry", "11", "--yes", "--storage", f"sqlite:///{tmp_path}/s.db", "--study", "s"]
    )
    assert answer.exit_code == 0, answer.output
    again = study.trials[-1]
    assert again.state is TrialState.WAITING
    assert (again.user_attrs[SEED], again.user_attrs[POINT_ID]) == (9, point_id({"x": 0.3}))
