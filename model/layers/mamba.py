"""The Mamba-1 block: a selective state space between two projections (arXiv 2312.00752, section 3).

``encoder.MambaEncoder`` stacks it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mdaf.model.layers.basic import LastToken, Linear, as_factor, inverse_softplus, log_uniform
from mdaf.model.ops.causal_conv import causal_conv
from mdaf.model.ops.positions import take_position
from mdaf.model.scan import last_output, selective_scan


class Mamba(nn.Module):
    """x (replica, batch, length, hidden) -> same shape. Output t depends only on inputs up to t.

    u = SiLU(conv(W_x x)); dt, B, C = W u; delta = softplus(W_dt dt + b_dt); A = -exp(A_log);
    h_t = exp(delta_t A) h_(t-1) + delta_t B_t u_t; y_t = C_t h_t + D u_t; out = W_out (y * SiLU(W_z x)).

    ``state``: the size of h for each channel. ``conv``: the width of the convolution. ``expand``: channels / hidden.
    ``scan``: the backend, one of ``mdaf.model.scan.BACKENDS``.
    """

    def __init__(self, hidden: int, state: int, conv: int, expand: int, scan: str = "auto") -> None:
        super().__init__()
        channels = expand * hidden
        rank = math.ceil(hidden / 16)
        self.split = [rank, state, state]
        self.scan = scan
        self.input = Linear(hidden, channels, bias=False)
        self.gate = Linear(hidden, channels, bias=False)
        bound = conv**-0.5
        self.conv_weight = nn.Parameter(torch.empty(1, channels, conv).uniform_(-bound, bound))
        self.conv_bias = nn.Parameter(torch.empty(1, channels).uniform_(-bound, bound))
        self.select = Linear(channels, rank + 2 * state, bias=False)
        self.delta = Linear(rank, channels, bias=False)
        with torch.no_grad():
            self.delta.weight.uniform_(-(rank**-0.5), rank**-0.5)
        self.delta_bias = nn.Parameter(inverse_softplus(log_uniform((1, channels), 1e-3, 1e-1).clamp(min=1e-4)))
        self.A_log = nn.Parameter(torch.arange(1, state + 1).float().log().repeat(1, channels, 1))
        self.D = nn.Parameter(torch.ones(1, channels))
        self.output = Linear(channels, hidden, bias=False)

    def forward(self, x: Tensor, lengths: Tensor, last_token: LastToken | None = None) -> Tensor:
        """All positions; with ``last_token`` only that one: (replica, batch, 1, hidden).

        The gate and the output projection of a position do not depend on other positions. So with ``last_token`` they
        are computed for that position only.
        """
        x = as_factor(x)
        u = causal_conv(self.input(x), self.conv_weight, self.conv_bias, lengths)
        dt, B, C = self.select(u).split(self.split, dim=-1)
        A = -torch.exp(self.A_log)
        delta, bias = self.delta(dt), self.delta_bias
        if last_token is None:
            z = self.gate(x)
            y = selective_scan(u, delta, A, B, C, self.D, z, lengths, delta_bias=bias, backend=self.scan)
        else:
            valid = torch.minimum(lengths, last_token.position + 1)
            C = take_position(C, last_token.position).squeeze(2)
            y = last_output(u, delta, A, B, C, self.D, valid, delta_bias=bias, backend=self.scan).unsqueeze(2)
            y = y * F.silu(self.gate(as_factor(last_token.x)))
        return self.output(y)

    def undecayed(self) -> list[nn.Parameter]:
        """The parameters that have no weight decay."""
        return [self.A_log, self.D]
