"""The selective scan as one loop of a traced graph, for a model that is exported: its length may be dynamic.

A loop in Python would be unrolled for the length that is traced. PyTorch's ``scan`` stays a loop, with the memory of
one step, and ONNX has an operator for it.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor
from torch._higher_order_ops.scan import scan as traced_loop

from mdaf.model.scan import reference


def run(dt: Tensor, u: Tensor, A: Tensor, B: Tensor, C: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """As ``reference.run``."""
    rate = A.transpose(1, 2)[:, None].contiguous()  # the loop keeps the layout of its state

    def step(h: Tensor, now: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        return reference.step(h, rate, *now)

    replica, batch, _, channel = dt.shape
    state = h + torch.zeros(replica, batch, A.shape[2], channel, dtype=A.dtype, device=dt.device)
    last, outputs = traced_loop(step, state, tuple(t.movedim(2, 0).contiguous() for t in (dt, u, B, C)))
    return outputs.movedim(0, 2), last


scan = functools.partial(reference.scan, recurrence=run)
