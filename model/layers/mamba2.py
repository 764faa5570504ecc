"""The Mamba-2 block: a state space with a scalar decay for each head, by matrix products (arXiv 2405.21060, section 7).

``encoder.Mamba2Encoder`` stacks it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mdaf.model.layers.basic import LastToken, Linear, RMSNorm, as_factor, inverse_softplus, log_uniform
from mdaf.model.ops.causal_conv import causal_conv
from mdaf.model.ops.positions import take_position
from mdaf.model.ops.ssd import ssd, ssd_at


class Mamba2(nn.Module):
    """x (replica, batch, length, hidden) -> same shape. Output t depends only on inputs up to t.

    [u, B, C] = SiLU(conv(W [u, B, C] x)); dt = softplus(W_dt x + b_dt) and A = -exp(A_log), scalars of each head;
    h_t = exp(dt_t A) h_(t-1) + dt_t B_t u_t^T; y_t = h_t^T C_t + D u_t; out = W_out RMSNorm(y * SiLU(W_z x)).

    ``state``: the rows of h. ``conv``: the width of the convolution. ``expand``: channels / hidden. ``head``: the
    channels of a head. ``chunk``: positions that one product computes. Raises ``ValueError`` if the channels do not
    divide into heads.
    """

    def __init__(self, hidden: int, state: int, conv: int, expand: int, head: int, chunk: int) -> None:
        super().__init__()
        channels = expand * hidden
        if channels % head:
            raise ValueError(f"mamba2: {channels} channels (expand * hidden) do not divide into heads of {head}")
        heads = channels // head
        self.head, self.chunk = head, chunk
        self.split = [channels, state, state]
        self.input = Linear(hidden, sum(self.split), bias=False)
        self.delta = Linear(hidden, heads, bias=False)
        self.gate = Linear(hidden, channels, bias=False)
        bound = conv**-0.5
        self.conv_weight = nn.Parameter(torch.empty(1, sum(self.split), conv).uniform_(-bound, bound))
        self.conv_bias = nn.Parameter(torch.empty(1, sum(self.split)).uniform_(-bound, bound))
        self.delta_bias = nn.Parameter(inverse_softplus(log_uniform((1, heads), 1e-3, 1e-1).clamp(min=1e-4)))
        self.A_log = nn.Parameter(torch.empty(1, heads).uniform_(1, 16).log())
        self.D = nn.Parameter(torch.ones(1, heads))
        self.norm = RMSNorm(channels)
        self.output = Linear(channels, hidden, bias=False)

    def forward(self, x: Tensor, lengths: Tensor, last_token: LastToken | None = None) -> Tensor:
        """All positions; with ``last_token`` only that one: (replica, batch, 1, hidden)."""
        x = as_factor(x)
        mixed = causal_conv(self.input(x), self.conv_weight, self.conv_bias, lengths)
        u, B, C = mixed.split(self.split, dim=-1)
        u = u.unflatten(-1, (-1, self.head))
        dt = F.softplus(self.delta(x).float() + self.delta_bias[:, None, None])
        A = -torch.exp(self.A_log)
        if last_token is None:
            y, gate_input = ssd(u, dt, A, B, C, self.chunk), x
        else:
            last = last_token.position
            y, gate_input = ssd_at(u, dt, A, B, take_position(C, last), last), as_factor(last_token.x)
            u = take_position(u.flatten(3), last).unflatten(-1, (-1, self.head))
        y = (y + self.D[:, None, None, :, None] * u).flatten(3)
        return self.output(self.norm(y * F.silu(self.gate(gate_input))))

    def undecayed(self) -> list[nn.Parameter]:
        """The parameters that have no weight decay."""
        return [self.A_log, self.D, self.delta_bias]
