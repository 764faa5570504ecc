"""The selective scan in plain PyTorch with bounded memory, for devices without a kernel of their own (MPS).

It runs the loop over steps in chunks. The backward pass runs a chunk again from the state before it, so only one
chunk's intermediate results are in memory at a time. A parallel scan by doubling needs fewer operations, but moves
several times as much memory: it took five times as long on an H100 at length 50.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from mdaf.model.scan.reference import keep_valid, run, valid_positions

#: Steps in a chunk.
CHUNK = 8


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
    """Arguments and result as in ``mdaf.model.scan.selective_scan``."""
    if x.numel() == 0:
        return torch.zeros_like(x)
    valid = valid_positions(lengths, x)
    x, delta, B, C = (keep_valid(valid, sequence) for sequence in (x, delta, B, C))
    dt = F.softplus(delta if delta_bias is None else delta + delta_bias[:, None, None, :])
    u = dt * x
    h = torch.zeros((*x.shape[:2], A.shape[2], A.shape[1]), dtype=A.dtype, device=x.device)
    parts = []
    for chunk in zip(*(sequence.split(CHUNK, dim=2) for sequence in (dt, u, B, C)), strict=True):
        dt_part, u_part, B_part, C_part = chunk
        y, h = checkpoint(run, dt_part, u_part, A, B_part, C_part, h, use_reentrant=False)
        parts.append(y)
    y = torch.cat(parts, dim=2) + D[:, None, None, :] * x
    if z is not None:
        y = y * F.silu(keep_valid(valid, z))
    return keep_valid(valid, y).to(x.dtype)
