"""The Gaussian process beside scikit-learn's, and beside the density of the multivariate normal distribution."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, Matern, WhiteKernel

from mdaf.sweeper.racing import process
from mdaf.sweeper.racing.process import Hyperparameters, Runs, fit, posterior

FLAT = 1e7  # the variance of the constant in scikit-learn's model, where ours has a flat prior


def races(runs: int, points: int, *, pending: int = 0, seed: int = 1) -> Runs:
    """Runs of points in three dimensions on four seeds; each point has one."""
    rng = np.random.default_rng(seed)
    coordinates = rng.random((points, 3))
    point = np.concatenate([np.arange(points), rng.integers(0, points, runs - points)])
    values = 0.6 + coordinates[point].sum(axis=1) + 0.2 * rng.standard_normal(runs)
    return Runs(coordinates, point, rng.integers(0, 4, runs), values[: runs - pending])


def reference(runs: Runs, chosen: Hyperparameters, candidates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance by scikit-learn; the seed is a further coordinate, on which only its own kernel depends."""
    far, near = 1e9, 1e-3
    function = ConstantKernel(chosen.ratio) * Matern([chosen.length] * 3 + [far], nu=2.5)
    seeds = ConstantKernel(chosen.shared) * RBF([far] * 3 + [near])
    kernel = ConstantKernel(FLAT) + function + seeds + WhiteKernel(1.0)
    model = GaussianProcessRegressor(kernel, optimizer=None, alpha=0.0)
    finished = len(runs.values)
    assert runs.coordinates is not None
    rows = np.column_stack([runs.coordinates[runs.point], runs.seed])[:finished]
    model.fit(rows, runs.values / math.sqrt(chosen.variance))
    asked = np.column_stack(
        [np.concatenate([runs.coordinates, candidates]), np.full(len(runs.coordinates) + len(candidates), -9)]
    )
    mean, covariance = model.predict(asked, return_cov=True)
    own = (chosen.shared + 1.0) * np.eye(len(asked))  # what an unseen seed and one run's noise add
    own += chosen.shared * (1 - np.eye(len(asked)))
    return math.sqrt(chosen.variance) * mean, chosen.variance * (covariance - own)


@pytest.mark.parametrize("shared", [0.0, 1.5])
def test_mean_and_covariance_are_those_of_scikit_learn(shared: float) -> None:
    runs = races(30, 12)
    chosen = Hyperparameters(length=0.7, ratio=4.0, shared=shared, variance=0.04)
    candidates = np.random.default_rng(2).random((5, 3))
    mean, covariance = posterior(runs, chosen, candidates)
    expected, spread = reference(runs, chosen, candidates)
    np.testing.assert_allclose(mean, expected, atol=1e-4)
    np.testing.assert_allclose(covariance, spread, atol=1e-4)


def test_a_pending_run_leaves_the_mean_and_lowers_the_variance_as_if_it_had_its_expected_value() -> None:
    whole = races(20, 8)
    chosen = Hyperparameters(length=0.7, ratio=4.0, shared=0.5, variance=0.04)
    finished = Runs(whole.coordinates, whole.point[:16], whole.seed[:16], whole.values[:16])
    pending = Runs(whole.coordinates, whole.point, whole.seed, whole.values[:16])
    before, wide = posterior(finished, chosen)
    after, narrow = posterior(pending, chosen)
    np.testing.assert_allclose(after, before)
    assert (narrow.diagonal() < wide.diagonal()).all()
    np.testing.assert_allclose(narrow, posterior(whole, chosen)[1])


def likelihood(runs: Runs, chosen: Hyperparameters) -> float:
    """The density of the runs' differences from the first, which do not depend on the constant, noise integrated out.

    With a flat prior of the logarithm of the noise variance that is a multivariate t density without scale, so the
    logarithm is the one of the normal density at the best variance, up to a constant.
    """
    assert runs.coordinates is not None
    distances = np.linalg.norm(runs.coordinates[:, None] - runs.coordinates[None, :], axis=2)
    function = chosen.ratio * Matern(chosen.length, nu=2.5)(runs.coordinates)
    assert np.allclose(function, chosen.ratio * process.matern(distances, chosen.length))
    same = (runs.seed[:, None] == runs.seed[None, :]).astype(float)
    covariance = function[np.ix_(runs.point, runs.point)] + chosen.shared * same + np.eye(len(runs.point))
    contrasts = np.column_stack([-np.ones(len(runs.point) - 1), np.eye(len(runs.point) - 1)])
    differences, spread = contrasts @ runs.values, contrasts @ covariance @ contrasts.T
    variance = differences @ np.linalg.solve(spread, differences) / len(differences)
    return float(stats.multivariate_normal.logpdf(differences, cov=variance * spread))


@pytest.mark.parametrize("seed", range(4))
def test_the_hyperparameters_are_those_of_the_grid_with_the_greatest_likelihood(seed: int) -> None:
    runs = races(25, 10, seed=seed)
    cells = [
        Hyperparameters(length, ratio, shared, 1.0)
        for length in process.LENGTHS
        for ratio in process.RATIOS
        for shared in process.SHARED
    ]
    best = max(cells, key=lambda cell: likelihood(runs, cell))
    found = fit(runs)
    assert (found.length, found.ratio, found.shared) == (best.length, best.ratio, best.shared)


def test_noise_and_what_seeds_share_are_found_from_many_runs() -> None:
    rng = np.random.default_rng(3)
    points, seeds = 30, 40
    point, seed = np.divmod(np.arange(points * seeds)[rng.random(points * seeds) < 0.3], seeds)
    coordinates = rng.random((points, 3))
    common = math.sqrt(1.5) * 0.01 * rng.standard_normal(seeds)
    values = 0.05 * coordinates[point, 0] + common[seed] + 0.01 * rng.standard_normal(len(point))
    found = fit(Runs(coordinates, point, seed, values))
    assert found.shared == 1.5
    assert math.sqrt(found.variance) == pytest.approx(0.01, rel=0.1)


def test_equal_values_and_a_single_run_are_fitted_too() -> None:
    coordinates = np.random.default_rng(1).random((4, 2))
    for count in (1, 4):
        runs = Runs(coordinates, np.arange(count), np.zeros(count, dtype=int), np.full(count, 0.5))
        mean, covariance = posterior(runs, fit(runs))
        np.testing.assert_allclose(mean, 0.5)
        assert np.isfinite(covariance).all()


def test_points_without_coordinates_are_shrunk_towards_their_common_mean() -> None:
    runs = Runs(None, np.array([0, 0, 0, 1, 2]), np.array([0, 1, 2, 0, 0]), np.array([1.0, 1.1, 0.9, 1.0, 0.0]))
    mean, covariance = posterior(runs, Hyperparameters(1.0, 1.0, 0.0, 0.01), fresh=1)
    assert 0.0 < mean[2] < mean[3] < mean[1] < mean[0] < 1.0
    assert covariance[0, 0] < covariance[1, 1] < covariance[3, 3]
