"""Top-two Thompson sampling (Russo 2020, arXiv 1602.08448): which point is run next."""

from __future__ import annotations

import numpy as np

SECOND = 0.5  # how often the second-best point is taken
DRAWS = 32  # functions that are drawn to find another best point


def top_two(mean: np.ndarray, covariance: np.ndarray, open_: np.ndarray, rng: np.random.Generator) -> int | None:
    """The index of the point that is run next; None if none may be.

    ``mean``, ``covariance``  of the posterior over the points, shape ``(points,)`` and ``(points, points)``.
    ``open_``                 which points may be run, shape ``(points,)``.

    Draws a function from the posterior and takes its best point. With probability one half it draws again until
    another point is best, and takes that one.
    """
    at = np.flatnonzero(open_)
    if not len(at):
        return None
    draws = _drawn(mean[at], covariance[np.ix_(at, at)], rng)
    best = draws.argmax(axis=1)
    first = best[0]
    if rng.random() >= SECOND or len(at) == 1:
        return int(at[first])
    others = best[best != first]
    if len(others):
        return int(at[others[0]])
    draws[-1, first] = -np.inf  # hardly any draw has another best point, so the last draw's second-best is taken
    return int(at[draws[-1].argmax()])


def _drawn(mean: np.ndarray, covariance: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Functions from the posterior, shape ``(draws, points)``."""
    scale = max(float(covariance.diagonal().max()), np.finfo(float).tiny)
    jitter = 1e-9
    while True:  # rounding may leave a covariance that is not quite positive
        try:
            factor = np.linalg.cholesky(covariance + jitter * scale * np.eye(len(mean)))
        except np.linalg.LinAlgError:
            jitter *= 10
            continue
        return mean + rng.standard_normal((DRAWS, len(mean))) @ factor.T
