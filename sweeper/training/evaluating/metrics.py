"""Metrics of scores, computed on their device: AUC, grouped AUC (gAUC), log loss and calibration error (ECE).

Scores that are not finite have no rank and no loss: every metric raises ``NotFiniteError`` for them.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_FIXED_POINT = 2**32  # parts of one: whole numbers have the same sum in whatever order a device adds them


class NotFiniteError(ValueError):
    """Some scores are not finite, for example because the model diverged."""


def check_finite(scores: Tensor, what: str = "scores") -> None:
    """NotFiniteError if one of ``scores`` is NaN or infinite."""
    finite = int(scores.isfinite().sum())
    if finite < scores.numel():
        raise NotFiniteError(f"{scores.numel() - finite:,} of {scores.numel():,} {what} are no finite numbers")


def _midranks(scores: Tensor) -> Tensor:
    """Ranks from 1, ties given their mean rank; scores (n,) -> (n,) float64."""
    ordered, order = scores.sort(stable=True)
    first = torch.ones_like(ordered, dtype=torch.bool)
    first[1:] = ordered[1:] != ordered[:-1]
    tie = first.cumsum(0) - 1
    sizes = torch.bincount(tie)
    mean_rank = sizes.cumsum(0) - (sizes - 1).double() / 2
    ranks = torch.empty(len(scores), dtype=torch.float64, device=scores.device)
    ranks[order] = mean_rank[tie]
    return ranks


def auc(scores: Tensor, labels: Tensor) -> float:
    """Area under the ROC curve: the share of (click, no click) pairs that are ranked correctly; ties count half.

    scores, labels (n,). NaN if one of the classes is absent.
    """
    check_finite(scores)
    positive = labels > 0.5
    clicks = int(positive.sum())
    others = len(labels) - clicks
    if clicks == 0 or others == 0:
        return float("nan")
    rank_sum = float(_midranks(scores)[positive].sum())
    return (rank_sum - clicks * (clicks + 1) / 2) / (clicks * others)


def grouped_auc(scores: Tensor, labels: Tensor, users: Tensor) -> float:
    """gAUC: the mean of each user's AUC, **weighted by the user's samples**, over users with both classes.

    scores, labels, users (n,). NaN if no user has both. (Weighted by samples as in FuxiCTR, not by clicks.)
    """
    value, samples, both = user_aucs(scores, labels, users)
    if not bool(both.any()):
        return float("nan")
    return float((value[both] * samples[both]).sum() / samples[both].sum())


def user_aucs(scores: Tensor, labels: Tensor, users: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Each user's AUC, samples, and whether the user has both classes: else the AUC is NaN. All (user,), in order.

    scores, labels, users (n,).
    """
    check_finite(scores)
    _, group = users.unique(return_inverse=True)
    # Ranks within a user are ranks of the pairs (user, score): order by score, then stably by user.
    by_score = scores.sort(stable=True).indices
    order = by_score[group[by_score].sort(stable=True).indices]
    g, s, positive = group[order], scores[order], (labels[order] > 0.5).double()
    first = torch.ones_like(g, dtype=torch.bool)
    first[1:] = (g[1:] != g[:-1]) | (s[1:] != s[:-1])
    tie = first.cumsum(0) - 1
    sizes = torch.bincount(tie)
    mean_rank = sizes.cumsum(0) - (sizes - 1).double() / 2
    samples = torch.bincount(g)
    before = samples.cumsum(0) - samples
    rank = mean_rank[tie] - before[g]
    clicks = torch.zeros(len(samples), dtype=torch.float64, device=g.device).index_add_(0, g, positive)
    rank_sum = torch.zeros_like(clicks).index_add_(0, g, rank * positive)
    both = (clicks > 0) & (clicks < samples)
    value = (rank_sum - clicks * (clicks + 1) / 2) / (clicks * (samples - clicks))
    return value, samples, both


def log_loss(logits: Tensor, labels: Tensor) -> float:
    """Mean binary cross-entropy without label smoothing; logits, labels (n,)."""
    check_finite(logits)
    return float(F.binary_cross_entropy_with_logits(logits.double(), labels.double()))


def calibration_error(logits: Tensor, labels: Tensor, bins: int = 15) -> float:
    """ECE: how far predicted click probabilities are from click rates, on average over ``bins`` of equally many rows.

    Rows are ordered by their probability and cut into bins; of each, the distance of its mean probability to its click
    rate counts by its share of the rows. The measure and the 15 bins are those of Guo et al. 2017 (arXiv 1706.04599).
    Bins of equal mass are those of Nixon et al. 2019 (arXiv 1904.01685): clicks are rare, and bins of equal width would
    put nearly every row into the first two. Rows of equal scores share a bin, so the order of rows does not matter.

    logits, labels (n,). NaN without rows.
    """
    check_finite(logits)
    if not len(logits):
        return float("nan")
    bin_of = ((_midranks(logits) - 0.5) * bins / len(logits)).long()
    excess = ((logits.double().sigmoid() - (labels > 0.5).double()) * _FIXED_POINT).round().long()
    sums = torch.zeros(bins, dtype=torch.int64, device=logits.device).index_add_(0, bin_of, excess)
    return float(sums.abs().sum()) / _FIXED_POINT / len(logits)
