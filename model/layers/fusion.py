"""Fusion of the vectors of the static branch and of the sequence branch, used by ``mdaf.model.mdaf``."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mdaf.model.layers.basic import Linear


class GatedFusion(nn.Module):
    """fused = g * static + (1 - g) * sequence, with one g in (0, 1) for each sample.

    g is the weight of the static branch. static and sequence (replica, batch, dim) -> fused of the same shape and
    g (replica, batch).
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.hidden = Linear(2 * dim, dim)
        self.score = Linear(dim, 1)
        self.outputs = dim

    def forward(self, static: Tensor, sequence: Tensor) -> tuple[Tensor, Tensor | None]:
        both = torch.cat([static, sequence], dim=-1)
        gate = torch.sigmoid(self.score(F.relu(self.hidden(both))).float())
        return torch.lerp(sequence.float(), static.float(), gate), gate.squeeze(-1)


class ConcatFusion(nn.Module):
    """Both vectors concatenated, for the ablation without a gate: (replica, batch, 2 * dim), and None for the gate."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.outputs = 2 * dim

    def forward(self, static: Tensor, sequence: Tensor) -> tuple[Tensor, Tensor | None]:
        return torch.cat([static, sequence], dim=-1), None
