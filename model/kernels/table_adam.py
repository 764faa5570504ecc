"""What the kernels of deferred Adam share: a table's tensors, and the steps that may still have to be done on a row."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

#: Adam's decay rates of the moments, and what keeps its denominator from 0 (arXiv 1412.6980, PyTorch's defaults).
BETA1, BETA2, EPS = 0.9, 0.999, 1e-8


class Table(NamedTuple):
    """An embedding table of every replica, rows of replica k from k * rows on.

    ``weight``, ``mean``, ``square``  (replica * row, dim) float32: the weights, and Adam's moments.
    ``gradient``  of the same shape; zero but for the rows that the current step read.
    ``done``      (replica * row,) int32: the last step that was done on a row.
    ``counted``   (replica * row,) int32: the last step whose norm counted a row.
    """

    weight: Tensor
    mean: Tensor
    square: Tensor
    gradient: Tensor
    done: Tensor
    counted: Tensor


class Steps(NamedTuple):
    """What each step since the last settlement did, numbered from 1.

    ``rates``  (1 + step, replica, 3) float32: lr / (1 - beta1^t), 1 / sqrt(1 - beta2^t), and the share of the weights
               that decoupled decay takes.
    ``decay``  (replica,) float32: coupled weight decay, which is added to the gradient.
    ``now``    (1,) int32: the step under way.
    """

    rates: Tensor
    decay: Tensor
    now: Tensor
