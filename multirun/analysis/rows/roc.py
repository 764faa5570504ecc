"""Whether two models' AUCs on the same rows differ: DeLong's test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class DeLong:
    """Two correlated AUCs, the standard error of ``auc_a - auc_b``, and the two-sided p of no difference.

    Takes rows as independent. Rows of a user are not, so the standard error is too small where users have several.
    """

    auc_a: float
    auc_b: float
    standard_error: float
    p: float


def roc_auc(scores: np.ndarray, labels: np.ndarray) -> float:
    """Area under the ROC curve, ties counting half; scores, labels (row,). NaN if one of the classes is absent.

    ValueError where a score is not finite, as in ``delong``: it has no rank.
    """
    _check_finite(scores)
    positive = labels > 0.5
    clicks, others = int(positive.sum()), int((~positive).sum())
    if not clicks or not others:
        return float("nan")
    return float((stats.rankdata(scores)[positive].sum() - clicks * (clicks + 1) / 2) / (clicks * others))


def _check_finite(*several: np.ndarray) -> None:
    for scores in several:
        if not np.isfinite(scores).all():
            raise ValueError(f"{np.count_nonzero(~np.isfinite(scores)):,} scores are no finite numbers")


def delong(scores_a: np.ndarray, scores_b: np.ndarray, labels: np.ndarray) -> DeLong:
    """DeLong, DeLong and Clarke-Pearson (1988), by midranks (Sun and Xu 2014); all (row,). Needs both classes."""
    _check_finite(scores_a, scores_b)
    positive = labels > 0.5
    clicks, others = int(positive.sum()), int((~positive).sum())
    if clicks < 2 or others < 2:
        raise ValueError(f"DeLong needs two rows of each class; found {clicks} clicks and {others} others")
    areas, of_clicks, of_others = [], [], []
    for scores in (scores_a, scores_b):
        x, y = scores[positive], scores[~positive]
        every = stats.rankdata(np.concatenate([x, y]))
        # The share of the other class that each row is ranked rightly against.
        of_clicks.append((every[:clicks] - stats.rankdata(x)) / others)
        of_others.append(1 - (every[clicks:] - stats.rankdata(y)) / clicks)
        areas.append(float(of_clicks[-1].mean()))
    covariance = np.cov(of_clicks) / clicks + np.cov(of_others) / others
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    error = float(np.sqrt(max(variance, 0.0)))
    difference = areas[0] - areas[1]
    p = float(2 * stats.norm.sf(abs(difference) / error)) if error > 0 else float(difference == 0)
    return DeLong(areas[0], areas[1], error, p)
