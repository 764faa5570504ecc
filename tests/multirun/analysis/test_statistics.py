"""Intervals, paired tests and verdicts on values whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mdaf.multirun.analysis.statistics import (
    bootstrap_interval,
    combined_interval,
    combined_p,
    detectable_difference,
    holm,
    paired,
    power,
    sign_flip_floor,
    sign_flip_p,
    spread,
    t_interval,
)
from mdaf.multirun.analysis.verdict_rule import verdict

PHASE_1 = [0.5829, 0.5680]  # best-of-epoch-1 AUCs of the research's two seeds


def rng() -> np.random.Generator:
    return np.random.default_rng(1)


def test_mean_and_standard_deviation_are_the_samples() -> None:
    found = spread(PHASE_1, rng())
    assert found.mean == pytest.approx(0.57545)
    assert found.sd == pytest.approx(0.0149 / np.sqrt(2))


def test_the_t_interval_is_scipys() -> None:
    sample = np.array([0.76, 0.77, 0.74, 0.78, 0.75])
    expected = stats.ttest_1samp(sample, 0).confidence_interval(0.95)
    assert t_interval(sample) == pytest.approx((expected.low, expected.high))


def test_one_value_has_a_mean_and_no_interval() -> None:
    found = spread([0.5], rng())
    assert (found.mean, found.sd, found.t_interval, found.bootstrap_interval) == (0.5, None, None, None)


@pytest.mark.parametrize("values", [[], [0.5, float("nan")]])
def test_no_value_or_one_that_is_none_is_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="expected finite values"):
        spread(values, rng())


def test_the_paired_test_is_scipys() -> None:
    a, b = [0.76, 0.77, 0.74, 0.78, 0.75], [0.75, 0.765, 0.742, 0.76, 0.744]
    found = paired(a, b, rng())
    expected = stats.ttest_rel(a, b)
    assert found.t_p == pytest.approx(expected.pvalue)
    assert found.effect == pytest.approx(expected.statistic / np.sqrt(5))
    assert found.spread.mean == pytest.approx(np.mean(a) - np.mean(b))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-64, 64), min_size=2, max_size=8))
def test_the_sign_flip_test_counts_what_scipy_counts(differences: list[int]) -> None:
    sample = np.array(differences) / 64  # sums are exact: which of two nearly equal ones is larger is no question here
    expected = stats.permutation_test((sample,), np.mean, permutation_type="samples", n_resamples=np.inf).pvalue
    assert sign_flip_p(sample) == pytest.approx(expected, abs=2.0 ** (1 - len(sample)) + 1e-9)
    assert sign_flip_p(sample) >= sign_flip_floor(len(sample))


def test_five_seeds_that_all_agree_reach_the_floor_and_no_further() -> None:
    assert sign_flip_floor(5) == 0.0625
    assert sign_flip_p(np.array([0.1, 0.2, 0.1, 0.3, 0.2])) == 0.0625
    assert sign_flip_p(np.zeros(5)) == 1.0


def test_holm_steps_down_and_never_below_an_earlier_one() -> None:
    assert holm([0.01, 0.04, 0.03, None]) == [pytest.approx(0.03), pytest.approx(0.06), pytest.approx(0.06), None]
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_power_is_that_of_simulated_t_tests() -> None:
    draws = np.random.default_rng(3).normal(1.0, 1.0, size=(4000, 6))
    simulated = np.mean(stats.ttest_1samp(draws, 0, axis=1).pvalue < 0.05)
    assert power(1.0, 1.0, 6) == pytest.approx(simulated, abs=0.03)


def test_a_detectable_difference_is_detected_with_eighty_per_cent() -> None:
    found = detectable_difference(sd=0.002, n=5)
    assert power(found, 0.002, 5) == pytest.approx(0.8)


def test_the_verdict_follows_the_declared_rule() -> None:
    assert verdict(0.01, 5, 0.04) == "better"
    assert verdict(-0.01, 5, 0.04) == "worse"
    assert verdict(0.01, 5, 0.05) == "indistinguishable"
    assert verdict(0.01, 2, 0.001) == "indistinguishable"
    assert verdict(0.01, 5, None) == "indistinguishable"
    assert verdict(0.01, 5, 0.001, interval=(-0.001, 0.021), margin=0.02) == "better"
    assert verdict(0.01, 5, 0.001, interval=(-0.001, 0.019), margin=0.02) == "equivalent"


def test_the_errors_of_seeds_and_of_users_add_up_as_by_hand() -> None:
    sample = np.array([0.010, 0.011, 0.009, 0.012])
    # Mean .0105; sd .00129099, so .000645497 over four seeds; t(3) at 97.5 % is 3.18245, and the normal 1.95996.
    half = (0.00205426**2 + (1.95996 * 0.004) ** 2) ** 0.5  # .00205426 = 3.18245 * .000645497
    assert half == pytest.approx(0.0081045, abs=1e-7)
    low, high = combined_interval(sample, 0.004)
    assert (low, high) == pytest.approx((0.0105 - half, 0.0105 + half), abs=1e-7)


def test_p_is_the_level_at_which_the_interval_touches_zero() -> None:
    sample = np.array([0.010, 0.013, 0.004, 0.012, 0.008])
    for users_error in (0.0, 0.0005, 0.004, 0.1):
        p = combined_p(sample, users_error)
        assert p is not None
        assert combined_interval(sample, users_error, 1 - p)[0] == pytest.approx(0, abs=1e-9)
        assert combined_p(-sample, users_error) == pytest.approx(p)


def test_without_an_error_of_users_it_is_students_and_with_one_it_is_never_less() -> None:
    sample = np.array([0.010, 0.013, 0.004, 0.012, 0.008])
    students = stats.ttest_1samp(sample, 0.0).pvalue
    assert combined_p(sample, 0.0) == pytest.approx(students, rel=1e-12)
    assert combined_interval(sample, 0.0) == pytest.approx(t_interval(sample))
    ps = [combined_p(sample, error) or 0.0 for error in (0.0, 1e-5, 1e-3, 1e-2, 1.0)]
    assert ps == sorted(ps)
    assert ps[-1] == pytest.approx(1, abs=0.01)  # all of the error is of users, and the mean is nothing beside it
    assert combined_p(sample - sample.mean(), 0.001) == pytest.approx(1)
    assert combined_p(np.full(4, 0.01), 0.001) is None
    nearly_alike = combined_p(1 + 1e-9 * np.arange(4), 0.5)
    assert nearly_alike == pytest.approx(2 * stats.norm.sf(2), rel=1e-6)  # all of the error is of users


def test_intervals_cover_at_their_nominal_rate() -> None:
    rounds, n = 1000, 5
    draws = np.random.default_rng(5).normal(0.0, 1.0, size=(rounds, n))
    by_t = np.mean([low <= 0 <= high for low, high in map(t_interval, draws)])
    assert abs(by_t - 0.95) < 4 * np.sqrt(0.95 * 0.05 / rounds)
    resampler = rng()
    by_bootstrap = np.mean(
        [low <= 0 <= high for low, high in (bootstrap_interval(d, resampler, resamples=1000) for d in draws)]
    )
    assert by_bootstrap > 0.9  # close to nominal, where the plain percentile interval covers 82 %


def simulated_verdicts(difference: float, n: int, rounds: int, comparisons: int = 1) -> list[list[str]]:
    """Verdicts on pairs of runs whose AUCs spread by one standard deviation and are independent."""
    generator = np.random.default_rng(7)
    baseline = generator.normal(0, 1, size=(rounds, 1, n))
    differences = generator.normal(difference, 1, size=(rounds, comparisons, n)) - baseline
    p_values = stats.ttest_1samp(differences, 0, axis=2).pvalue
    return [
        [verdict(float(mean), n, p) for mean, p in zip(means, holm(list(map(float, ps))), strict=True)]
        for means, ps in zip(differences.mean(axis=2), p_values, strict=True)
    ]


@pytest.mark.parametrize("comparisons", [1, 3])
@pytest.mark.parametrize("n", [5, 10])
def test_a_false_better_is_at_most_five_per_cent_likely(n: int, comparisons: int) -> None:
    verdicts = simulated_verdicts(0.0, n, 4000, comparisons)
    assert np.mean(["better" in found for found in verdicts]) <= 0.05


def test_two_standard_deviations_are_found_with_ten_seeds() -> None:
    verdicts = simulated_verdicts(2.0, 10, 4000)
    assert np.mean([found == ["better"] for found in verdicts]) >= 0.8
