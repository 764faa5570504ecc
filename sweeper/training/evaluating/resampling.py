"""The error of a metric of one model that the choice of users makes: a bootstrap of whole users."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

import numpy as np
from scipy.sparse import csr_array

from mdaf.model.kernels.backend import installed

# Of so many resamples and blocks of rows at a time counts are held.
_RESAMPLES, _BLOCKS = 512, 1 << 10
_DRAWN = 32  # resamples of users that are drawn before they are put in their places


def user_weights(users: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """How often each user is drawn in each resample, (resample, user) unsigned; users (row,) are dense indices.

    The counts of one user lie side by side in memory, as ``resampled_aucs`` reads them.
    """
    count = len(np.unique(users))
    weights = np.empty((count, resamples), dtype=np.uint8).T
    for first in range(0, resamples, _DRAWN):
        size = min(_DRAWN, resamples - first)
        drawn = np.stack([np.bincount(rng.integers(0, count, size=count), minlength=count) for _ in range(size)])
        if drawn.max(initial=0) > np.iinfo(weights.dtype).max:
            weights = weights.astype(np.uint32)
        weights[first : first + size] = drawn
    return weights


def resampled_aucs(
    scores: np.ndarray, labels: np.ndarray, users: np.ndarray, weights: np.ndarray, backend: str = "auto"
) -> np.ndarray:
    """The AUC under each row of ``user_weights``, (resample,); NaN where a resample lacks a class.

    Users are drawn whole: rows of one user share the user's taste, so they are one observation more than many.
    ``backend``: auto (numba's kernel where numba is installed) | reference. Both have the same values, bit for bit.
    """
    if not np.isfinite(scores).all():
        raise ValueError("some scores are no finite numbers: they have no rank")
    present, user = np.unique(users, return_inverse=True)
    order = np.argsort(scores, kind="stable")
    click = labels[order] > 0.5
    if backend == "auto" and installed("numba"):
        kernel = importlib.import_module("mdaf.model.kernels.resampled_auc_cpu")
        ranked = scores[order]
        ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], [True] * bool(len(ranked)))) + 1
        doubled, clicks, others = kernel.pairs(click, user[order], ends, np.ascontiguousarray(weights.T))
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(doubled / 2 / (clicks.astype(np.float64) * others))
    block = _blocks(scores[order], click)
    shape = (block[-1] + 1, len(present)) if len(block) else (0, len(present))
    clicks_of, others_of = (_counts(block[of], user[order][of], shape) for of in (click, ~click))
    found = np.empty(len(weights))
    for first in range(0, len(weights), _RESAMPLES):
        weight = weights[first : first + _RESAMPLES].T.astype(np.float64, order="C")  # (user, resample)
        right, others, clicks = (np.zeros(weight.shape[1]) for _ in range(3))
        for begin in range(0, shape[0], _BLOCKS):
            part = slice(begin, begin + _BLOCKS)
            in_clicks, in_others = clicks_of[part] @ weight, others_of[part] @ weight  # (block, resample)
            below = np.cumsum(in_others, axis=0)
            right += (in_clicks * (others + below - in_others / 2)).sum(axis=0)
            others += below[-1]
            clicks += in_clicks.sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            found[first : first + _RESAMPLES] = right / (clicks * others)
    return found


def _blocks(scores: np.ndarray, click: np.ndarray) -> np.ndarray:
    """The block of each row, (row,), ascending; scores (row,) ascend.

    A block is either a group of equal scores with rows of both classes, or all rows of one class between two rows of
    the other one: how these are ordered does not change an AUC.
    """
    starts = np.flatnonzero(np.concatenate([[True], scores[1:] != scores[:-1]])[: len(scores)])
    sizes = np.diff(starts, append=len(scores))
    clicks = np.add.reduceat(click.astype(np.int64), starts) if len(starts) else starts
    kind = np.where(clicks == 0, 0, np.where(clicks == sizes, 1, 2))
    new = np.concatenate([[True], (kind[1:] != kind[:-1]) | (kind[1:] == 2)])[: len(kind)]
    return np.repeat(np.cumsum(new) - 1, sizes)


def _counts(block: np.ndarray, user: np.ndarray, shape: tuple[int, int]) -> csr_array:
    """How many of these rows each block has of each user."""
    return csr_array((np.ones(len(block)), (block, user)), shape=shape)


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
