"""The error of a metric of one model that the choice of users makes: a bootstrap of whole users."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

_TOGETHER = 1 << 22  # weights of rows held at a time while resampling


def user_weights(users: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """How often each user is drawn in each resample, (resample, user) int32; users (row,) are dense indices."""
    present, _ = np.unique(users, return_inverse=True)
    drawn = rng.integers(0, len(present), size=(resamples, len(present)))
    return np.stack([np.bincount(row, minlength=len(present)) for row in drawn]).astype(np.int32)


def resampled_aucs(scores: np.ndarray, labels: np.ndarray, users: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The AUC under each row of ``user_weights``, (resample,); NaN where a resample lacks a class.

    Users are drawn whole: rows of one user share the user's taste, so they are one observation more than many.
    """
    if not np.isfinite(scores).all():
        raise ValueError("some scores are no finite numbers: they have no rank")
    _, user = np.unique(users, return_inverse=True)
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))  # of each group of ties
    click = labels[order] > 0.5
    found = np.empty(len(weights))
    step = max(1, _TOGETHER // len(scores))
    for first in range(0, len(weights), step):
        weight = weights[first : first + step][:, user[order]].astype(np.float64)  # (resample, row)
        clicks = np.add.reduceat(weight * click, starts, axis=1)  # (resample, tie)
        others = np.add.reduceat(weight * ~click, starts, axis=1)
        below = np.cumsum(others, axis=1) - others / 2
        with np.errstate(invalid="ignore", divide="ignore"):
            found[first : first + step] = (clicks * below).sum(axis=1) / (clicks.sum(axis=1) * others.sum(axis=1))
    return found


def resampled_error(differences: np.ndarray) -> float | None:
    """Standard deviation of resampled differences, those without a value left out; None for fewer than two."""
    known = differences[np.isfinite(differences)]
    return float(known.std(ddof=1)) if len(known) > 1 else None


def in_parts(users: np.ndarray, resamples: int, rng: np.random.Generator, most: int = 1 << 26) -> Iterator[np.ndarray]:
    """``user_weights`` of all resamples, at most ``most`` numbers at a time."""
    step = max(1, most // max(1, len(np.unique(users))))
    for first in range(0, resamples, step):
        yield user_weights(users, min(step, resamples - first), rng)


def interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float] | None:
    """The percentile interval of resampled values, those without a value left out; None for fewer than two."""
    known = values[np.isfinite(values)]
    if len(known) < 2:
        return None
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
