"""The ordinary Adams of all replicas, stepped by one set of CUDA kernels instead of one launch for each replica."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mdaf.model.kernels.backend import fused_backend
from mdaf.model.kernels.dense_adam import Chunks, Share, chunked
from mdaf.sweeper.training.optim.fused_adam import FusedAdam


def can_step_jointly(device: torch.device) -> bool:
    """Whether there are kernels for ``device``."""
    return fused_backend("dense Adam", "auto", device, torch.float32) == "triton"


class JointAdam:
    """Steps ``optimizers``, one for each replica and alike, in place: their states must not move in memory."""

    def __init__(self, optimizers: Sequence[FusedAdam]) -> None:
        self._optimizers = list(optimizers)
        self._kernels: Any = importlib.import_module("mdaf.model.kernels.dense_adam_triton")
        self._chunks: dict[tuple[bool, ...], Chunks] = {}  # by which parameters have a gradient

    @torch.no_grad()
    def step(
        self, parameters: Sequence[nn.Parameter], rates: Tensor, clip_norm: float | None, deferred: Tensor | None
    ) -> Tensor:
        """A step of the stacked ``parameters`` that have a gradient, in the order of the optimizers' groups.

        ``rates``      learning rates, (replica,).
        ``clip_norm``  the most that the norm of each replica's whole gradient may be.
        ``deferred``   the squared norm of the deferred tables' gradient, (replica,), which is part of the whole.

        Returns the factor that scaled each replica's gradient, (replica,). Nothing waits for the host.
        """
        clip = torch.ones_like(rates)
        moved = tuple(parameter.grad is not None for parameter in parameters)
        if not any(moved):
            return clip
        chunks = self._chunks.get(moved) or self._cut(moved)
        torch._foreach_copy_(chunks.gradients, [p.grad for p in parameters if p.grad is not None])
        if clip_norm is not None:
            norm = self._kernels.norms(chunks)
            if deferred is not None:
                norm = (norm.square() + deferred).sqrt()
            clip = (clip_norm / (norm + 1e-6)).clamp(max=1.0)
        self._kernels.update(chunks, rates, clip, self._optimizers[0].decoupled)
        return clip

    def _cut(self, moved: tuple[bool, ...]) -> Chunks:
        self._chunks[moved] = chunks = chunked([_shares(optimizer, moved) for optimizer in self._optimizers])
        return chunks


def _shares(optimizer: FusedAdam, moved: Sequence[bool]) -> list[Share]:
    decayed = [(view, group["weight_decay"]) for group in optimizer.param_groups for view in group["params"]]
    shares = []
    for (view, decay), takes_part in zip(decayed, moved, strict=True):
        if takes_part:
            state = optimizer.state_of(view)
            shares.append(Share(view, state["exp_avg"], state["exp_avg_sq"], state["step"], decay))
    return shares
