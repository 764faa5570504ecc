"""The loss of a batch: label smoothing, positive weight, cross-entropy, focal or one's own, and that of Tri-BCE.

With the label y (0 or 1), the smoothing s, the positive weight w and the logit z of a sample, and p = sigmoid(z):

    t = (1 - s) y + s / 2                                          the target: label smoothing of two classes
    bce(z, t)   = -t log p - (1 - t) log(1 - p)
    focal(z, t) = -t (1 - p)^g log p - (1 - t) p^g log(1 - p)      g is training.focal_gamma; g = 0 is bce
    L = (1 / size) * sum over samples of w^y * loss(z, t)

Label smoothing is that of Szegedy et al. 2016 (arXiv 1512.00567, section 7). The focal loss is that of Lin et al. 2017
(arXiv 1708.02002, equation 4), whose target is 0 or 1: for others each class's term is weighted by its share of the
target. The weight belongs to the sample and not to the target: a click counts as if it stood w times in the log,
whatever the smoothing (the reweighting of Elkan 2001, "The Foundations of Cost-Sensitive Learning"). The sum is divided
by the number of samples and not by the sum of weights, so a weight also scales the gradient. Without smoothing the
optimum under bce is logit(p) + log w instead of logit(p): the scores rank alike, but are no click probabilities any
more.

A loss has one value for each replica, (replica,). ``mdaf.sweeper.training.stepping.step`` calls these functions and
sums them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from mdaf.errors import UserError
from mdaf.messages.reporting import one_line
from mdaf.naming.allowed import allowed, is_named, refusal

#: Logits and targets (replica, batch), gamma (replica, 1) -> the loss of each sample (replica, batch).
SampleLoss = Callable[[Tensor, Tensor, Tensor], Tensor]


def smoothed(labels: Tensor, smoothing: Tensor) -> Tensor:
    """Smoothed labels: 0 becomes s/2 and 1 becomes 1 - s/2; labels (replica, batch), smoothing s (replica, 1)."""
    return labels * (1 - smoothing) + smoothing / 2


def cross_entropy(logits: Tensor, targets: Tensor, gamma: Tensor) -> Tensor:
    """The cross-entropy of each sample, (replica, batch). ``gamma`` has no effect."""
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none")


def focal(logits: Tensor, targets: Tensor, gamma: Tensor) -> Tensor:
    """The focal loss of each sample, (replica, batch), with gamma (replica, 1).

    A power of a probability is the exponential of its logarithm times gamma, whose gradient exists at 0 too.
    """
    log_p, log_q = F.logsigmoid(logits), F.logsigmoid(-logits)
    return -targets * (gamma * log_q).exp() * log_p - (1 - targets) * (gamma * log_p).exp() * log_q


LOSSES: dict[str, SampleLoss] = {"bce": cross_entropy, "focal": focal}


def loss_of(name: str) -> SampleLoss:
    """The loss that ``training.loss`` names: one of ``LOSSES``, or a function of the user's own, as ``mine.loss``.

    An own function takes logits and targets (replica, batch) and returns the loss of each sample in that shape. It is
    tried on a few numbers. UserError if the user has not allowed it, if there is no such function, or if it does
    something else.
    """
    if name in LOSSES:
        return LOSSES[name]
    if not is_named(name, allowed()):
        raise UserError(f"training.loss: {refusal(name)}")
    module, _, function = name.rpartition(".")
    try:
        own = getattr(importlib.import_module(module), function)
    except Exception as error:  # the import of somebody's module may raise anything
        raise UserError(f"training.loss: found {name}, which cannot be imported: {one_line(error)}") from None
    _check(name, own)

    def loss(logits: Tensor, targets: Tensor, gamma: Tensor) -> Tensor:
        each: Tensor = own(logits, targets)
        return each

    return loss


def _check(name: str, own: Callable[[Tensor, Tensor], Tensor]) -> None:
    """UserError unless ``own`` returns the loss of each sample, which depends on that sample's logit alone."""
    expected = "expected a function of logits and targets, (replica, batch), that returns the loss of each sample"
    logits = torch.tensor([[0.3, -0.7, 1.1], [0.2, 0.5, -0.4]], requires_grad=True)
    try:
        each = own(logits, torch.tensor([[1.0, 0.0, 0.05], [0.95, 0.0, 1.0]]))
    except Exception as error:  # somebody's function may raise anything
        raise UserError(f"training.loss: {name} raised {type(error).__name__}: {one_line(error)}; {expected}") from None
    if not isinstance(each, Tensor) or each.shape != logits.shape:
        found = f"the shape {tuple(each.shape)}" if isinstance(each, Tensor) else type(each).__name__
        raise UserError(f"training.loss: {name} returned {found} for logits (2, 3); {expected}")
    if not each.requires_grad:
        raise UserError(f"training.loss: what {name} returned has no gradient; {expected}")
    [gradient] = torch.autograd.grad(each[0, 0], logits)
    if not (each.isfinite().all() and gradient.isfinite().all()):
        raise UserError(f"training.loss: {name} returned values or gradients that are not finite; {expected}")
    if gradient.count_nonzero() > gradient[0, 0].count_nonzero():
        raise UserError(f"training.loss: {name} mixes samples: the loss of one depends on another; {expected}")


@dataclass(frozen=True)
class BatchLoss:
    """The loss of each replica on a batch, or on a part of one; labels (replica, batch).

    ``smoothing``, ``gamma``  (replica, 1) each.
    ``weight``                of clicks, (replica, 1); None: every replica's is 1.
    ``size``                  samples of the whole batch.
    """

    sample_loss: SampleLoss
    labels: Tensor
    smoothing: Tensor
    gamma: Tensor
    weight: Tensor | None
    size: int

    def __call__(self, logits: Tensor) -> Tensor:
        """The sum of the samples' losses over ``size``: (replica, batch) -> (replica,)."""
        each = self.sample_loss(logits, smoothed(self.labels, self.smoothing), self.gamma)
        if self.weight is not None:
            each = each * torch.where(self.labels > 0.5, self.weight, 1.0)
        return each.sum(dim=1) / self.size


def branch_losses(
    branches: Sequence[Tensor], loss: Tensor, loss_of_logits: Callable[[Tensor], Tensor]
) -> Tensor | float:
    """The auxiliary loss of Tri-BCE for each replica, (replica,); 0 without branches.

    Each branch adds w L_branch with w = max(0, L_branch - L), w held constant (arXiv 2407.13349, section 4.4), where
    L_branch is ``loss_of_logits``, the loss that the model's own logits have.
    """
    total: Tensor | float = 0.0
    for logits in branches:
        own = loss_of_logits(logits)
        total = total + (own - loss).detach().clamp(min=0) * own
    return total
