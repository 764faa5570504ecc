"""The selective scan in plain PyTorch within bounded memory, for devices without a kernel of their own (MPS).

The step loop in chunks: backward runs a chunk again from the state before it, so that memory holds the intermediate
results of one chunk at a time instead of all of them. A scan by doubling needs fewer operations but moves several
times the memory, and took five times as long on an H100 at length 50.
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
    """Shapes as in ``mdaf.model.scan.selective_scan``."""
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
