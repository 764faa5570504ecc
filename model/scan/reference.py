"""The selective scan written as its equations (Mamba, arXiv 2312.00752, section 3), one step at a time.

It takes any floating type. The kernels are tested against it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def valid_positions(lengths: Tensor | None, x: Tensor) -> Tensor | None:
    """Mask (replica, batch, length, 1) of the positions before each row's length; None if all are valid."""
    if lengths is None:
        return None
    return (torch.arange(x.shape[2], device=x.device) < lengths[..., None])[..., None]


def keep_valid(valid: Tensor | None, sequence: Tensor) -> Tensor:
    """``sequence`` with zeros outside ``valid``. No value and no gradient passes there, not even NaN."""
    if valid is None:
        return sequence
    return torch.where(valid, sequence, torch.zeros((), dtype=sequence.dtype, device=sequence.device))


def run(dt: Tensor, u: Tensor, A: Tensor, B: Tensor, C: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """The recurrence, starting at the state ``h`` (replica, batch, state, channel).

    Returns C . h of every step, (replica, batch, length, channel), and the last state. Arguments are shaped as in
    ``mdaf.model.scan.selective_scan``; ``u`` is dt * x.
    """
    rate = A.transpose(1, 2)[:, None]
    steps = []
    for dt_t, u_t, B_t, C_t in zip(*(sequence.unbind(2) for sequence in (dt, u, B, C)), strict=True):
        h = torch.exp(dt_t[:, :, None, :] * rate) * h + B_t[..., None] * u_t[:, :, None, :]
        steps.append((h * C_t[..., None]).sum(2))
    return torch.stack(steps, dim=2), h


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
    """Arguments and result as in ``mdaf.model.scan.selective_scan``; the state has the widest type of the arguments."""
    valid = valid_positions(lengths, x)
    x, delta, B, C = (keep_valid(valid, sequence) for sequence in (x, delta, B, C))
    if delta_bias is not None:
        delta = delta + delta_bias[:, None, None, :]
    delta = F.softplus(delta)
    y = run(delta, delta * x, A, B, C, torch.zeros((), dtype=A.dtype, device=x.device))[0] if x.numel() else x
    y = y + D[:, None, None, :] * x
    if z is not None:
        y = y * F.silu(keep_valid(valid, z))
    return keep_valid(valid, y).to(x.dtype)
