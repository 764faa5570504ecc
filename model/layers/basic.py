"""Basic layers for stacked replicas: linear, embedding, normalization, dropout, feed-forward networks.

Axis 0 of every parameter is the replica; inputs are (replica, batch, ..., channel). A layer is built for one replica,
and ``mdaf.model.stack.stack`` concatenates several along axis 0. No layer has a random state: a dropout mask is a
function of a key, which the training loop sets for each step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mdaf.model.ops.batched_matmul import cpu_factors, stacked_product
from mdaf.model.ops.embedding import RowReader, Rows
from mdaf.model.ops.hash_dropout import Mask, dropped
from mdaf.model.ops.layer_norm import activated, normed_sum
from mdaf.model.ops.wide_product import pays, wide_product


class Linear(nn.Module):
    """y[r] = x[r] W[r]^T + b[r]; x (replica, ..., inputs) -> (replica, ..., outputs).

    Initialized as ``torch.nn.Linear``: uniform within +-inputs^-1/2.
    """

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__()
        bound = inputs**-0.5
        self.weight = nn.Parameter(torch.empty(1, outputs, inputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(1, outputs).uniform_(-bound, bound)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        if self.bias is None:
            return self.product(x)
        if x.is_cuda:
            return stacked_product(as_factor(x.flatten(1, -2)), self.weight, bias=self.bias).unflatten(1, x.shape[1:-1])
        y = torch.baddbmm(self.bias.unsqueeze(1), x.flatten(1, -2), self.weight.transpose(1, 2))
        return y.unflatten(1, x.shape[1:-1])

    def product(self, x: Tensor) -> Tensor:
        """x[r] W[r]^T, for callers that add the bias themselves."""
        return product(x, self.weight)


def product(x: Tensor, weight: Tensor) -> Tensor:
    """x[r] W[r]^T: x (replica, ..., inputs), weight (replica, outputs, inputs) -> (replica, ..., outputs)."""
    rows = x.flatten(1, -2)
    if rows.is_cuda:
        y = stacked_product(as_factor(rows), weight)
    elif factors := cpu_factors():
        y = stacked_product(rows, weight, factors)
    elif pays(rows, weight):
        y = wide_product(rows, weight)
    else:
        y = torch.bmm(rows, weight.transpose(1, 2))
    return y.unflatten(1, x.shape[1:-1])


def as_factor(x: Tensor) -> Tensor:
    """x in the type of autocast's matrix products. Use it if x is a factor of several products: it is cast once."""
    return x.to(factor_type(x))


def factor_type(x: Tensor) -> torch.dtype:
    """The type to which autocast casts x as a factor of a matrix product."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


class Embedding(nn.Module):
    """ids (replica, ...) -> vectors (replica, ..., dim) from a table of ``rows`` of each replica.

    Rows are initialized as N(0, std^2), the padding row as zero. Padding must have no effect on the output, so that its
    row stays zero. In training, rows are read through ``deferred`` if an optimizer has set it.
    """

    def __init__(self, rows: int, dim: int, std: float = 0.01) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(1, rows, dim).normal_(std=std))
        with torch.no_grad():
            self.weight[:, 0] = 0.0
        self.deferred: RowReader | None = None

    def forward(self, ids: Tensor) -> Tensor:
        return self.rows(ids).vectors()

    def rows(self, ids: Tensor) -> Rows:
        """The rows of the table that ``ids`` (replica, ...) select."""
        replicas, rows, _ = self.weight.shape
        if replicas > 1:
            wide = torch.int64 if replicas * rows > torch.iinfo(ids.dtype).max else ids.dtype
            first_row = torch.arange(replicas, device=ids.device, dtype=wide) * rows
            ids = ids + first_row.view(-1, *[1] * (ids.dim() - 1))
        deferring = self.training and torch.is_grad_enabled()
        return Rows(self.weight.flatten(0, 1), ids, self.deferred if deferring else None)


class LayerNorm(nn.Module):
    """Layer normalization over the channels of x (replica, ..., channel), with a gain and a bias of each replica."""

    def __init__(self, dim: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, dim))
        self.bias = nn.Parameter(torch.zeros(1, dim))
        self.eps = eps

    def forward(
        self,
        x: Tensor,
        bias: Tensor | None = None,
        dropout: Dropout | None = None,
        residual: Tensor | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """LN(dropout(x + bias) + residual), without the arguments that are None.

        ``bias``: (replica, channel). ``residual``: a tensor of x's shape. ``dtype``: the type of the result; default
        float32.
        """
        mask = None if dropout is None else dropout.mask(x)
        return normed_sum(x, self.weight, self.bias, self.eps, bias, mask, residual, dtype)


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * gain over the channels of x (replica, ..., channel) (arXiv 1910.07467).

    Computed in float32; the result has the type of x.
    """

    def __init__(self, dim: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, dim))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        scale = torch.rsqrt(x.float().square().mean(dim=-1, keepdim=True) + self.eps)
        return (x * scale * self.weight.view(-1, *[1] * (x.dim() - 2), x.shape[-1])).to(x.dtype)


class Dropout(nn.Module):
    """Dropout with a rate and a random key of each replica, both set by ``set_dropout``; identity in evaluation.

    x (replica, batch, ..., channel) -> same shape. A replica's mask depends only on its key, so it equals the mask of
    the same run trained alone.

    ``longest``  the length of the longest sequence that x may hold, so that masks do not depend on padding.
    ``first``    the index in the batch of x's first row, so that masks do not depend on micro-batches.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rate: Tensor | None = None
        self.key: Tensor | None = None
        self.longest = 1
        self.first = 0

    def forward(self, x: Tensor) -> Tensor:
        return dropped(x, self.mask(x))

    def mask(self, x: Tensor) -> Mask | None:
        """The mask for x; None if nothing is dropped."""
        if not self.training or self.rate is None or self.key is None:
            return None
        return Mask(self.rate, self.key, self.longest * x.shape[-1], self.first)


def _dropouts(model: nn.Module) -> list[Dropout]:
    return [module for module in model.modules() if isinstance(module, Dropout)]


def dropout_keys(model: nn.Module, seeds: Sequence[int]) -> Tensor:
    """One key for each dropout layer of ``model`` and each replica: (layer, replica) int64, on the CPU.

    ``seeds``: one for each replica, in [0, 2^62).
    """
    # The odd constant is 2^64 / golden ratio, cut to 62 bits: neighbouring positions get distant keys.
    shifts = [(position * 0x1E3779B97F4A7C15) % 2**62 for position in range(len(_dropouts(model)))]
    return torch.tensor([[(seed + shift) % 2**62 for seed in seeds] for shift in shifts], dtype=torch.int64)


def set_dropout(model: nn.Module, rate: Tensor | None, keys: Tensor | None, first: int = 0) -> None:
    """Sets rate (replica,) float32 and keys (layer, replica) int64 of every dropout layer of ``model``.

    ``None`` turns dropout off. ``first`` is the index in the batch of the first row. A layer keeps a view of ``keys``,
    so that new keys can be copied into it.
    """
    for position, layer in enumerate(_dropouts(model)):
        layer.rate, layer.first = rate, first
        layer.key = None if keys is None else keys[position]


class Hidden(Linear):
    """dropout(activation(W x + b)); x (replica, ..., inputs) -> (replica, ..., outputs).

    ``activation`` is one of ``mdaf.model.ops.layer_norm.ACTIVATIONS``.
    """

    bias: nn.Parameter

    def __init__(self, inputs: int, outputs: int, activation: str) -> None:
        super().__init__(inputs, outputs)
        self.activation = activation

    def forward(self, x: Tensor, dropout: Dropout | None = None) -> Tensor:
        x = self.product(x)
        return activated(x, self.bias, self.activation, None if dropout is None else dropout.mask(x))


class FeedForward(nn.Module):
    """LN(dropout(W_2 dropout(activation(W_1 x + b_1)) + b_2) + x): x (replica, ..., dim) -> same shape.

    ``hidden`` is the width between the two linear layers.
    """

    def __init__(self, dim: int, hidden: int, eps: float, activation: str = "gelu") -> None:
        super().__init__()
        self.expand = Hidden(dim, hidden, activation)
        self.contract = Linear(hidden, dim)
        self.inner_dropout = Dropout()
        self.outer_dropout = Dropout()
        self.norm = LayerNorm(dim, eps)

    def forward(self, x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        hidden = self.expand(x, self.inner_dropout)
        return self.norm(self.contract.product(hidden), self.contract.bias, self.outer_dropout, x, dtype)


class MLP(nn.Module):
    """ReLU layers with dropout: x (replica, ..., dim) -> (replica, ..., outputs).

    ``hidden`` holds the width of each layer; ``outputs`` is the last of them.
    """

    def __init__(self, dim: int, hidden: Sequence[int]) -> None:
        super().__init__()
        widths = [dim, *hidden]
        self.layers = nn.ModuleList(Hidden(a, b, "relu") for a, b in pairwise(widths))
        self.dropouts = nn.ModuleList(Dropout() for _ in hidden)
        self.outputs = widths[-1]

    def forward(self, x: Tensor) -> Tensor:
        for layer, dropout in zip(self.layers, self.dropouts, strict=True):
            x = layer(x, dropout)
        return x


class Head(MLP):
    """ReLU layers with dropout, then a logit: x (replica, ..., dim) -> (replica, ...)."""

    def __init__(self, dim: int, hidden: Sequence[int]) -> None:
        super().__init__(dim, hidden)
        self.logit = Linear(self.outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = super().forward(x)
        with torch.autocast(x.device.type, enabled=False):  # bfloat16 logits would have ties, which change the AUC
            return self.logit(hidden.float()).squeeze(-1)


def inverse_softplus(y: Tensor) -> Tensor:
    """x such that log(1 + exp(x)) = y, for y > 0."""
    return y + torch.log(-torch.expm1(-y))


def log_uniform(shape: tuple[int, ...], low: float, high: float) -> Tensor:
    """Random numbers whose logarithm is uniform between the logarithms of ``low`` and ``high``."""
    return torch.empty(shape).uniform_(math.log(low), math.log(high)).exp()


def valid_positions(x: Tensor, lengths: Tensor) -> Tensor:
    """Whether each position of x (replica, batch, length, channel) is valid: (replica, batch, length, 1) bool.

    ``lengths`` (replica, batch) is the number of valid positions of each sequence, which come first.
    """
    return (torch.arange(x.shape[2], device=x.device) < lengths.unsqueeze(-1)).unsqueeze(-1)


def mean_position(x: Tensor, lengths: Tensor) -> Tensor:
    """The mean over the valid positions of x (replica, batch, length, channel): (replica, batch, channel).

    It is zero if a sequence has none.
    """
    total = (x * valid_positions(x, lengths)).sum(dim=2)
    return total / lengths.clamp(min=1).unsqueeze(-1)


class LastToken(NamedTuple):
    """The only position of a sequence that the next layer reads: its index, and the layer's input there.

    ``position``  (replica, batch) int64.
    ``x``         (replica, batch, 1, channel).
    """

    position: Tensor
    x: Tensor
