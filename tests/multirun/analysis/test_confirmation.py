"""Naming a winner: by the confirmed mean, ties to the point nearest the balanced one, seeds kept apart."""

from __future__ import annotations

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution

from mdaf.errors import UserError
from mdaf.multirun.analysis.confirmation import check_disjoint, confirm, distance
from mdaf.multirun.analysis.report_data.inputs import CandidateInput


def candidate(name: str, sweep_value: float | None, away: float) -> CandidateInput:
    return CandidateInput(name, None, sweep_value, away)


CANDIDATES = [candidate("far", 0.80, 0.9), candidate("near", 0.79, 0.2), candidate("balanced", None, 0.0)]


def test_the_highest_confirmed_mean_wins_whatever_the_sweep_said() -> None:
    values = {
        "far": {1: 0.760, 2: 0.761, 3: 0.762},
        "near": {1: 0.780, 2: 0.781, 3: 0.782},
        "balanced": {1: 0.750, 2: 0.751, 3: 0.752},
    }
    found = confirm(CANDIDATES, values, near="balanced")
    assert (found.winner, found.tied) == ("near", ["near"])
    assert found.optimism == pytest.approx(0.79 - 0.781)
    assert found.candidates[0].optimism == pytest.approx(0.80 - 0.761)
    assert found.candidates[2].optimism is None


def test_of_those_within_noise_the_nearest_to_the_balanced_point_wins() -> None:
    values = {
        "far": {1: 0.760, 2: 0.770, 3: 0.780},
        "near": {1: 0.759, 2: 0.769, 3: 0.779},
        "balanced": {1: 0.740, 2: 0.750, 3: 0.760},
    }
    found = confirm(CANDIDATES, values, near="balanced")
    assert found.noise == pytest.approx(0.01 * (2 / 3) ** 0.5)
    assert (found.winner, found.highest, found.tied) == ("near", "far", ["far", "near"])


def test_a_candidate_without_a_run_cannot_win_and_none_at_all_is_an_error() -> None:
    assert confirm(CANDIDATES, {"balanced": {1: 0.7}}, near="balanced").winner == "balanced"
    with pytest.raises(UserError, match="no winner to name"):
        confirm(CANDIDATES, {}, near="balanced")


@pytest.mark.parametrize(
    ("seeds", "named"),
    [
        (([7], [8], [7, 42]), "seed 7: found in both the search and Phase 4"),
        (([7], [7], [42]), "seed 7: found in both the search and confirmation"),
        (([7], [42], [42]), "seed 42: found in both confirmation"),
    ],
)
def test_a_seed_in_two_stages_is_refused_by_name(seeds: tuple[list[int], ...], named: str) -> None:
    with pytest.raises(UserError, match=named):
        check_disjoint(*seeds)


def test_distance_is_in_widths_of_the_box_on_the_scale_that_was_searched() -> None:
    space = {
        "a": FloatDistribution(0.0, 2.0),
        "b": FloatDistribution(1e-5, 1e-3, log=True),
        "c": CategoricalDistribution(["x", "y"]),
    }
    here = {"a": 0.0, "b": 1e-5, "c": "x"}
    assert distance({"a": 1.0, "b": 1e-5, "c": "x"}, here, space) == pytest.approx(0.5)
    assert distance({"a": 0.0, "b": 1e-4, "c": "x"}, here, space) == pytest.approx(0.5)
    assert distance({"a": 0.0, "b": 1e-5, "c": "y"}, here, space) == 1.0
    assert distance(here, here, space) == 0.0
