"""The selective scan in plain PyTorch with few, large operations, for devices without a kernel of their own (MPS).

A chunk of steps is scanned by doubling (Hillis and Steele 1986: after round i each position has combined 2^i steps),
which is stable for every decay, unlike a cumulative sum divided by decays. Chunks follow each other and carry the
state. Backward recomputes a chunk from the state before it, so that memory holds one chunk's intermediate results at
a time.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from model.scan.reference import keep_valid, valid_positions

#: Steps in a chunk: four rounds of doubling.
CHUNK = 16


def _scan_chunk(dt: Tensor, u: Tensor, A: Tensor, B: Tensor, C: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """(y, the state after) of one chunk; dt, u (replica, batch, step, channel), h (replica, batch, state, channel)."""
    decay = torch.exp(dt[..., None, :] * A.transpose(1, 2)[:, None, None])
    state = u[..., None, :] * B[..., None]
    reach = 1
    while reach < dt.shape[2]:
        state = torch.cat(
            [state[:, :, :reach], state[:, :, reach:] + decay[:, :, reach:] * state[:, :, :-reach]], dim=2
        )
        decay = torch.cat([decay[:, :, :reach], decay[:, :, reach:] * decay[:, :, :-reach]], dim=2)
        reach *= 2
    state = state + decay * h[:, :, None]
    return (state * C[..., None]).sum(-2), state[:, :, -1]


def scan(
    x: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    z: Tensor | None,
    lengths: Tensor | None,
    delta_bias: Tensor | None,
) -> Tensor:
    """Shapes as in ``model.scan.selective_scan``."""
    if x.numel() == 0:
        return torch.zeros_like(x)
    valid = valid_positions(lengths, x)
    x, delta, B, C = (keep_valid(valid, sequence) for sequence in (x, delta, B, C))
    dt = F.softplus(delta if delta_bias is None else delta + delta_bias[:, None, None, :])
    u = dt * x
    h = torch.zeros(
        (*x.shape[:2], A.shape[2], A.shape[1]), dtype=torch.promote_types(A.dtype, dt.dtype), device=x.device
    )
    parts = []
    for start in range(0, x.shape[2], CHUNK):
        steps = slice(start, start + CHUNK)
        y, h = checkpoint(
            _scan_chunk, dt[:, :, steps], u[:, :, steps], A, B[:, :, steps], C[:, :, steps], h, use_reentrant=False
        )
        parts.append(y)
    y = torch.cat(parts, dim=2) + D[:, None, None, :] * x
    if z is not None:
        y = y * F.silu(keep_valid(valid, z))
    return keep_valid(valid, y).to(x.dtype)
