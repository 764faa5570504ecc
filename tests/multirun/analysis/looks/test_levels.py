"""Error and power of the looks, on simulated differences whose truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mdaf.multirun.analysis.looks.levels import critical, drawn, nominal_level, t_values
from mdaf.multirun.analysis.looks.power import detectable_effect, power_of
from mdaf.multirun.analysis.statistics import detectable_difference

DEFAULT = (4, 6, 8, 10)
REPETITIONS = 200_000


@pytest.mark.parametrize("looks", [DEFAULT, (3, 5), (4, 6)])
@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_where_nothing_differs_all_looks_together_have_the_error_that_was_asked_for(
    looks: tuple[int, ...], alpha: float
) -> None:
    found = nominal_level(looks, alpha)
    limits = critical(looks, found.level)
    rng = np.random.default_rng(11)  # not the sequences from which the level comes
    wrong = [(np.abs(t_values(block, looks)) > limits).any(axis=1) for block in drawn(rng, REPETITIONS, looks[-1])]
    tolerance = 4 * math.hypot(math.sqrt(alpha * (1 - alpha) / REPETITIONS), found.standard_error)
    assert np.concatenate(wrong).mean() == pytest.approx(alpha, abs=tolerance)
    assert found.level < alpha


def test_the_level_of_the_default_looks_is_that_of_the_design() -> None:
    assert nominal_level(DEFAULT, 0.05).level == pytest.approx(0.0180, abs=0.0002)


def test_a_single_look_is_the_ordinary_t_test() -> None:
    found = nominal_level((5,), 0.05)
    assert (found.level, found.standard_error) == (0.05, 0.0)
    assert detectable_effect((5,), 0.05) == pytest.approx(detectable_difference(1.0, 5, 0.05), abs=0.03)


def test_t_is_that_of_the_first_pairs_of_each_sequence() -> None:
    differences = np.random.default_rng(2).normal(3.0, 1.0, size=(5, 8))
    first = differences[:, :4]
    expected = first.mean(axis=1) / first.std(axis=1, ddof=1) * 2
    assert t_values(differences, (4, 8))[:, 0] == pytest.approx(expected)


def test_a_larger_difference_is_found_more_often_and_with_fewer_pairs() -> None:
    level = nominal_level(DEFAULT, 0.05).level
    none, one, two = (power_of(effect, DEFAULT, level, 6) for effect in (0.0, 1.0, 2.0))
    assert none.better + none.worse < 0.05
    assert none.better < one.better < two.better
    assert two.pairs < one.pairs < 10
    assert two.better > 0.99
    detectable = detectable_effect(DEFAULT, level, 6)
    assert detectable is not None
    assert power_of(detectable, DEFAULT, level, 6).better == pytest.approx(0.8, abs=0.005)


def test_futility_spends_fewer_pairs_where_nothing_differs_and_adds_no_false_better() -> None:
    level = nominal_level(DEFAULT, 0.05).level
    with_it, without = power_of(0.0, DEFAULT, level, 6), power_of(0.0, DEFAULT, level, None)
    assert with_it.pairs < without.pairs - 1
    assert with_it.better <= without.better
