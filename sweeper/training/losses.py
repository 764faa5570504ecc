"""The loss of a batch: cross-entropy on smoothed labels, and what a model's branches add to it (Tri-BCE)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F


def smoothed(labels: Tensor, smoothing: Tensor) -> Tensor:
    """Labels drawn towards one half: 0 becomes s/2. labels (replica, batch), smoothing s (replica, 1)."""
    return labels * (1 - smoothing) + smoothing / 2


def cross_entropy(logits: Tensor, labels: Tensor, size: int) -> Tensor:
    """The share that these samples have of the mean loss of a batch of ``size``: (replica, batch) -> (replica,)."""
    return F.binary_cross_entropy_with_logits(logits, labels, reduction="none").sum(dim=1) / size


def branch_losses(branches: Sequence[Tensor], loss: Tensor, labels: Tensor, size: int) -> Tensor | float:
    """What Tri-BCE adds for each replica, (replica,): each branch's loss, weighted by how far it exceeds the model's.

    w L_branch with w = max(0, L_branch - L), w held fixed (arXiv 2407.13349, section 4.4). 0 without branches.
    """
    total: Tensor | float = 0.0
    for logits in branches:
        own = cross_entropy(logits, labels, size)
        total = total + (own - loss).detach().clamp(min=0) * own
    return total
