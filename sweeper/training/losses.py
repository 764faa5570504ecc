"""The loss of a batch: cross-entropy with label smoothing, and the auxiliary loss of a model's branches (Tri-BCE).

A loss has one value for each replica, (replica,). ``mdaf.sweeper.training.step`` calls these functions and sums them.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F


def smoothed(labels: Tensor, smoothing: Tensor) -> Tensor:
    """Smoothed labels: 0 becomes s/2 and 1 becomes 1 - s/2; labels (replica, batch), smoothing s (replica, 1)."""
    return labels * (1 - smoothing) + smoothing / 2


def cross_entropy(logits: Tensor, labels: Tensor, size: int) -> Tensor:
    """The sum of the samples' losses over ``size``, the size of the whole batch: (replica, batch) -> (replica,)."""
    return F.binary_cross_entropy_with_logits(logits, labels, reduction="none").sum(dim=1) / size


def branch_losses(branches: Sequence[Tensor], loss: Tensor, labels: Tensor, size: int) -> Tensor | float:
    """The auxiliary loss of Tri-BCE for each replica, (replica,); 0 without branches.

    Each branch adds w L_branch with w = max(0, L_branch - L), w held constant (arXiv 2407.13349, section 4.4).
    """
    total: Tensor | float = 0.0
    for logits in branches:
        own = cross_entropy(logits, labels, size)
        total = total + (own - loss).detach().clamp(min=0) * own
    return total
