"""The inputs of the deferred Adam kernels: the tensors of an embedding table, and the steps that rows may have missed.

Deferred Adam updates a row of a table only when a step reads it, and then does the steps that the row missed. The
optimizer itself is ``mdaf.sweeper.training.optim.deferred_adam``.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

#: Adam's decay rates of the moments and the addend of its denominator (arXiv 1412.6980; PyTorch's default values).
BETA1, BETA2, EPS = 0.9, 0.999, 1e-8


class Table(NamedTuple):
    """One embedding table of all replicas. The rows of replica k start at k * rows.

    ``weight``, ``mean``, ``square``  (replica * row, dim) float32: the weights and Adam's moments.
    ``gradient``  the same shape; zero except in the rows that the current step read.
    ``done``      (replica * row,) int32: the last step that was done on each row.
    ``counted``   (replica * row,) int32: the last step whose gradient norm includes the row.
    """

    weight: Tensor
    mean: Tensor
    square: Tensor
    gradient: Tensor
    done: Tensor
    counted: Tensor


class Steps(NamedTuple):
    """The rates of each step since all rows were last brought up to date. Steps are numbered from 1.

    ``rates``  (1 + step, replica, 3) float32: lr / (1 - beta1^t); 1 / sqrt(1 - beta2^t); and the fraction by which
               decoupled weight decay shrinks the weights.
    ``decay``  (replica,) float32: coupled weight decay, which is added to the gradient.
    ``now``    (1,) int32: the current step.
    """

    rates: Tensor
    decay: Tensor
    now: Tensor
