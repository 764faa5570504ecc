"""The surrogate that samplers are compared on, and what is made of a simulated sweep."""

from __future__ import annotations

import numpy as np
import optuna
import pytest

from benchmarks.samplers import BOWLS, differences, sweep, table
from benchmarks.surrogates import bowls

optuna.logging.set_verbosity(optuna.logging.WARNING)


def test_the_fitted_bowl_puts_the_known_points_where_they_were_measured() -> None:
    measured = [0.8983, 0.8966, 0.8915]  # weak, balanced, strong on user_behavior, two epochs, one seed
    fitted = [bowls.fitted().value(point) for point in bowls.KNOWN_POINTS]
    assert fitted == pytest.approx(measured, abs=0.002)
    assert fitted == sorted(fitted, reverse=True)


@pytest.mark.parametrize("bowl", list(BOWLS))
def test_nothing_in_the_box_is_better_than_the_best(bowl: str) -> None:
    drawn = BOWLS[bowl](3)
    random = np.random.default_rng(0)
    for dropout, decay, smoothing in random.uniform((0.15, 1e-5, 0.0), (0.35, 1e-4, 0.1), (200, 3)):
        point = dict(zip(bowls.SPACE, (dropout, decay, smoothing), strict=True))
        assert drawn.value(point) <= drawn.best


def test_an_optimum_inside_is_off_the_walls_and_differs_between_repetitions() -> None:
    optima = np.array([bowls.inside(repetition).optimum for repetition in range(50)])
    assert optima.min() >= bowls.MARGIN
    assert optima.max() <= 1 - bowls.MARGIN
    assert len(np.unique(optima)) == 150


def test_samplers_of_one_repetition_meet_the_same_bowl_and_the_same_noise() -> None:
    random, tpe = (sweep("optimum inside", 0.0025, sampler, 5, trials=4) for sampler in ("random", "tpe"))
    assert random.tried[:3].tolist() == tpe.tried[:3].tolist()  # weak, balanced, strong
    assert random.chosen[:3].tolist() == tpe.chosen[:3].tolist()


def test_more_trials_never_lose_the_best_point_and_without_noise_it_is_the_one_chosen() -> None:
    regrets = sweep("user_behavior", 0.0, "random", 0, trials=12)
    assert (np.diff(regrets.tried) <= 0).all()
    assert regrets.chosen.tolist() == regrets.confirmed.tolist() == regrets.tried.tolist()
    assert regrets.tried[-1] >= 0


def test_the_tables_are_markdown_with_a_row_a_sampler() -> None:
    found = {name: [sweep("user_behavior", 0.001, name, n, trials=6) for n in range(3)] for name in ("tpe", "random")}
    rows = [line for line in table("three sweeps", found, [3, 6]).splitlines() if line.startswith("|")]
    assert len({row.count("|") for row in rows}) == 1
    assert [row.split(" | ")[0] for row in rows[2:]] == ["| tpe", "| random"]
    assert "| random |" in differences(found, [6])
