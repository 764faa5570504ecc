r"""A Gaussian process over points that were run on several seeds, with numpy alone.

The value of a run is modelled as :math:`y = \mu + f(x) + u_{seed} + e`: a constant, a function of the point, what all
runs of one seed have in common, and the noise of one run. In units of the noise variance :math:`\sigma^2`, the last
three have the variances ``ratio``, ``shared`` and 1. The constant has a flat prior. The correlation of :math:`f` is
Matern 5/2 (Rasmussen and Williams 2006, equation 4.17).

Its length, ``ratio`` and ``shared`` are those of a small grid that have the greatest restricted likelihood, with
:math:`\mu` and :math:`\sigma^2` integrated out (the same, sections 2.7 and 5.4; Harville 1974).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

LENGTHS = (0.35, 0.7, 1.4)  # in widths of the cube, for three searched parameters
# Of the function's variance to the noise variance; as standard deviations .1 to 8.
RATIOS = tuple(signal_to_noise**2 for signal_to_noise in (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0))
SHARED = (0.0, 0.5, 1.5)  # the variance that runs of one seed share, over the noise variance
MOST_FITTED = 250  # points from which hyperparameters are chosen; the posterior is that of all


@dataclass(frozen=True)
class Runs:
    """Runs of points on seeds, the finished ones first, then the pending ones.

    ``coordinates``  of the points, shape ``(points, coordinates)``; None if they have nothing to do with each other.
    ``point``        the index of each run's point, shape ``(runs,)``.
    ``seed``         the index of each run's seed, shape ``(runs,)``.
    ``values``       of the finished runs, shape ``(finished,)``.
    ``searched``     the number of searched parameters.
    ``unit``         what the values were divided by; the posterior is in the same unit.
    """

    coordinates: np.ndarray | None
    point: np.ndarray
    seed: np.ndarray
    values: np.ndarray
    searched: int = 3
    unit: float = 1.0

    @property
    def points(self) -> int:
        """How many points there are."""
        return len(self.coordinates) if self.coordinates is not None else int(self.point.max()) + 1


@dataclass(frozen=True)
class Hyperparameters:
    """``length`` in the cube, ``ratio`` and ``shared`` in units of ``variance``, which is the noise variance."""

    length: float
    ratio: float
    shared: float
    variance: float


def matern(distances: np.ndarray, length: float) -> np.ndarray:
    """The Matern 5/2 correlation at these distances."""
    scaled = math.sqrt(5) * distances / length
    correlation: np.ndarray = (1 + scaled + scaled**2 / 3) * np.exp(-scaled)
    return correlation


def lengths(searched: int) -> list[float]:
    """The lengths of the grid. They grow with the root of the dimension, as distances in the cube do."""
    return [length * math.sqrt(max(1, searched) / 3) for length in LENGTHS]


def fit(runs: Runs) -> Hyperparameters:
    """The cell of the grid with the greatest restricted likelihood of the finished runs, of which there must be one.

    Runs of one point enter by sufficient statistics, so the time depends on the number of points.
    """
    finished = len(runs.values)
    point, seed, values = runs.point[:finished], runs.seed[:finished], runs.values
    tried = np.unique(point)
    if len(tried) > MOST_FITTED:
        tried = tried[np.linspace(0, len(tried) - 1, MOST_FITTED).round().astype(int)]
        kept = np.isin(point, tried)
        point, seed, values = point[kept], seed[kept], values[kept]
    seed = np.unique(seed, return_inverse=True)[1]
    # What a single seed has in common is a part of the constant.
    grid = SHARED if seed.max() > 0 else SHARED[:1]
    collapsed = [_Collapsed.of(np.searchsorted(tried, point), seed, values, shared) for shared in grid]
    found = []
    for length in lengths(runs.searched) if runs.coordinates is not None else [1.0]:
        known = None if runs.coordinates is None else runs.coordinates[tried]
        among = correlations(known, len(tried), length)
        for one in collapsed:
            found += one.likelihoods(among, length)
    return max(found, key=lambda cell: cell[0])[1]


def posterior(
    runs: Runs, chosen: Hyperparameters, candidates: np.ndarray | None = None, *, fresh: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    r"""The mean and the covariance of :math:`\mu + f` at the runs' points and then at candidates.

    ``candidates`` are coordinates, shape ``(candidates, coordinates)``; where points have none, there are ``fresh``
    candidates. A pending run counts as if it had the value that is expected of it. That leaves the mean as it is and
    lowers the variance.
    """
    known = runs.coordinates
    if known is not None and candidates is not None:
        known = np.concatenate([known, candidates])
    prior = chosen.ratio * correlations(known, runs.points + fresh, chosen.length)
    finished = len(runs.values)
    factor, ones, across = _whitened(prior, runs.point[:finished], runs.seed[:finished], chosen.shared)
    seen = np.linalg.solve(factor, runs.values)
    constant = ones @ seen / (ones @ ones)
    mean = constant + across.T @ (seen - constant * ones)
    if finished < len(runs.point):
        factor, ones, across = _whitened(prior, runs.point, runs.seed, chosen.shared)
    left = 1 - across.T @ ones  # the constant is not known exactly either
    covariance = prior - across.T @ across + np.outer(left, left) / (ones @ ones)
    return mean, chosen.variance * covariance


def correlations(coordinates: np.ndarray | None, points: int, length: float) -> np.ndarray:
    """The correlations between points, shape ``(points, points)``; without coordinates there are none."""
    if coordinates is None:
        return np.eye(points)
    squares = (coordinates**2).sum(axis=1)
    distances = squares[:, None] + squares[None, :] - 2 * coordinates @ coordinates.T
    np.fill_diagonal(distances, 0)
    return matern(np.sqrt(np.maximum(distances, 0)), length)


def _whitened(
    prior: np.ndarray, point: np.ndarray, seed: np.ndarray, shared: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The Cholesky factor of the runs' covariance; ones, and covariances with all points, multiplied by its inverse."""
    covariance = prior[np.ix_(point, point)] + shared * (seed[:, None] == seed[None, :]) + np.eye(len(point))
    factor = np.linalg.cholesky(covariance)
    solved = np.linalg.solve(factor, np.column_stack([np.ones(len(point)), prior[point]]))
    return factor, solved[:, 0], solved[:, 1:]


@dataclass(frozen=True)
class _Collapsed:
    """Runs as one mean for each point by generalized least squares, and what they say of the noise besides.

    ``means``      shape ``(points,)``; ``factor`` is the Cholesky factor of their noise covariance.
    ``within``     the weighted sum of squares around the means.
    ``logarithm``  of the determinant of the covariance of the runs' noise.
    """

    runs: int
    shared: float
    means: np.ndarray
    factor: np.ndarray
    within: float
    logarithm: float

    @staticmethod
    def of(point: np.ndarray, seed: np.ndarray, values: np.ndarray, shared: float) -> _Collapsed:
        members = (point[:, None] == np.arange(point.max() + 1)[None, :]).astype(float)  # (runs, points)
        seeds = (seed[:, None] == np.arange(seed.max() + 1)[None, :]).astype(float)
        sizes = seeds.sum(axis=0)
        # The inverse of 1 + shared * J within each seed, by Sherman and Morrison, times the members of each point.
        weighted = members - (seeds * (shared / (1 + shared * sizes))) @ (seeds.T @ members)
        noise = np.linalg.inv(members.T @ weighted)
        means = noise @ (weighted.T @ values)
        residual = values - members @ means
        within = residual @ residual - (shared / (1 + shared * sizes)) @ (seeds.T @ residual) ** 2
        return _Collapsed(
            runs=len(values),
            shared=shared,
            means=means,
            factor=np.linalg.cholesky((noise + noise.T) / 2),
            within=float(within),
            logarithm=float(np.log1p(shared * sizes).sum()),
        )

    def likelihoods(self, among: np.ndarray, length: float) -> list[tuple[float, Hyperparameters]]:
        """The restricted log likelihood of each ratio, up to a constant, from one eigendecomposition.

        ``among``  the correlations between the points, shape ``(points, points)``.
        """
        half = np.linalg.solve(self.factor, among)
        values, vectors = np.linalg.eigh(np.linalg.solve(self.factor, half.T))
        solved = np.linalg.solve(self.factor, np.column_stack([np.ones(len(among)), self.means]))
        ones, seen = (vectors.T @ solved).T
        scales = 1 + np.outer(RATIOS, np.maximum(values, 0))  # (ratios, points)
        precision = (ones**2 / scales).sum(axis=1)
        constant = (ones * seen / scales).sum(axis=1) / precision
        squares = self.within + ((seen - constant[:, None] * ones) ** 2 / scales).sum(axis=1)
        freedom = max(1, self.runs - 1)
        squares = np.maximum(squares, np.finfo(float).tiny ** 0.5)  # where all values are equal
        found = -0.5 * (self.logarithm + np.log(scales).sum(axis=1) + np.log(precision) + freedom * np.log(squares))
        return [
            (float(likelihood), Hyperparameters(length, ratio, self.shared, float(total) / freedom))
            for likelihood, ratio, total in zip(found, RATIOS, squares, strict=True)
        ]
