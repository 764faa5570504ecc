"""The selective scan written as its equations (Mamba, arXiv 2312.00752, section 3), one step at a time.

It takes any floating type. The kernels are tested against it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Recurrence = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


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
    for now in zip(*(sequence.unbind(2) for sequence in (dt, u, B, C)), strict=True):
        h, y = step(h, rate, *now)
        steps.append(y)
    return torch.stack(steps, dim=2), h


def step(h: Tensor, rate: Tensor, dt: Tensor, u: Tensor, B: Tensor, C: Tensor) -> tuple[Tensor, Tensor]:
    """One step of the recurrence: the next state, and C . h of it, (replica, batch, channel).

    ``rate`` (replica, 1, state, channel) is A; the others are those of ``run`` at one position.
    """
    h = torch.exp(dt[:, :, None, :] * rate) * h + B[..., None] * u[:, :, None, :]
    return h, (h * C[..., None]).sum(2)


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
    recurrence: Recurrence = run,
) -> Tensor:
    """Arguments and result as in ``mdaf.model.scan.selective_scan``; the state has the widest type of the arguments."""
    valid = valid_positions(lengths, x)
    x, delta, B, C = (keep_valid(valid, sequence) for sequence in (x, delta, B, C))
    if delta_bias is not None:
        delta = delta + delta_bias[:, None, None, :]
    delta = F.softplus(delta)
    y = recurrence(delta, delta * x, A, B, C, torch.zeros((), dtype=A.dtype, device=x.device))[0] if x.numel() else x
    y = y + D[:, None, None, :] * x
    if z is not None:
        y = y * F.silu(keep_valid(valid, z))
    return keep_valid(valid, y).to(x.dtype)
