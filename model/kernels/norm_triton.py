"""Layer normalization of a sum on CUDA, in Triton, for ``mdaf.model.ops.layer_norm.normed_sum``.

It computes LN(dropout(x + bias) + residual) * gain + shift in one pass. The channels of a token are one row of a
program's tile. The backward pass computes the sum again from ``x`` and ``residual``. The gradients of gain, shift and
bias are sums over tokens. Each program writes a partial sum, and the partial sums are added in a fixed order.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from mdaf.model.kernels.hash_triton import PER_REPLICA, mask_of, masked, positions, spread
from mdaf.model.kernels.rows import RowLayout
from mdaf.model.kernels.triton_math import load, store, sum_partials

#: Elements of a tile. A program of the backward pass takes ``TILES`` tiles, one after the other.
TILE = 2048
TILES = 4
#: Arguments that share one allocation, (2, tokens): the second one's alignment depends on the number of tokens. Triton
#: would otherwise compile a kernel again for each alignment.
MOMENTS = ["mean", "scale"]


@triton.jit
def _sum(
    x, bias, residual, low, high, rate, at, position, replica, channels, c, real,
    BIASED: tl.constexpr, ADDED: tl.constexpr, DROPPED: tl.constexpr,
):  # fmt: skip
    """dropout(x + bias) + residual for one tile."""
    s = load(x + at, real)
    if BIASED:
        s += load(bias + replica * channels + c, c < channels)[None, :]
    if DROPPED:
        s = masked(s, position, low, high, rate)
    if ADDED:
        s += load(residual + at, real)
    return s


@triton.jit
def centred(s, real, channels, eps):
    """The mean of each row of a tile, the rows minus their means, and 1 / each row's standard deviation."""
    centre = tl.sum(s, axis=1) / channels
    deviation = tl.where(real, s - centre[:, None], 0.0)
    return centre, deviation, 1.0 / tl.sqrt(tl.sum(deviation * deviation, axis=1) / channels + eps)


@triton.jit(
    do_not_specialize=["tokens", "length", "gap", "begin"], do_not_specialize_on_alignment=PER_REPLICA + MOMENTS
)
def _norm_forward(
    x, bias, residual, gain, shift, rates, keys, out, mean, scale, tokens, length, channels, gap, begin, eps,
    BIASED: tl.constexpr, ADDED: tl.constexpr, DROPPED: tl.constexpr, ROWS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(tokens, ROWS)
    replica = (tl.program_id(0) // blocks).to(tl.int64)
    token = (tl.program_id(0) % blocks) * ROWS + tl.arange(0, ROWS)
    c = tl.arange(0, CHANNELS)
    real = (token < tokens)[:, None] & (c < channels)[None, :]
    at = (replica * tokens + token)[:, None] * channels + c[None, :]
    position = positions(token, c, length, channels, gap, begin)
    low, high = spread(tl.load(keys + replica))
    s = _sum(
        x, bias, residual, low, high, tl.load(rates + replica), at, position, replica, channels, c, real,
        BIASED, ADDED, DROPPED,
    )  # fmt: skip
    centre, deviation, rstd = centred(s, real, channels, eps)
    g = load(gain + replica * channels + c, c < channels)
    b = load(shift + replica * channels + c, c < channels)
    store(out + at, deviation * rstd[:, None] * g[None, :] + b[None, :], real)
    tl.store(mean + replica * tokens + token, centre, mask=token < tokens)
    tl.store(scale + replica * tokens + token, rstd, mask=token < tokens)


@triton.jit(
    do_not_specialize=["tokens", "length", "gap", "begin"], do_not_specialize_on_alignment=PER_REPLICA + MOMENTS
)
def _norm_backward(
    x, bias, residual, gain, rates, keys, mean, scale, dout, dx, dresidual, shares, tokens, length, channels, gap,
    begin,
    BIASED: tl.constexpr, ADDED: tl.constexpr, DROPPED: tl.constexpr, ROWS: tl.constexpr, CHANNELS: tl.constexpr,
    TILES: tl.constexpr,
):  # fmt: skip
    programs = tl.cdiv(tokens, ROWS * TILES)
    replica = (tl.program_id(0) // programs).to(tl.int64)
    program = tl.program_id(0) % programs
    c = tl.arange(0, CHANNELS)
    g = load(gain + replica * channels + c, c < channels)
    low, high = spread(tl.load(keys + replica))
    rate = tl.load(rates + replica)
    dgain = tl.zeros((CHANNELS,), tl.float32)
    dshift = tl.zeros((CHANNELS,), tl.float32)
    dbias = tl.zeros((CHANNELS,), tl.float32)
    for tile in range(TILES):
        token = (program * TILES + tile) * ROWS + tl.arange(0, ROWS)
        real = (token < tokens)[:, None] & (c < channels)[None, :]
        at = (replica * tokens + token)[:, None] * channels + c[None, :]
        position = positions(token, c, length, channels, gap, begin)
        s = _sum(x, bias, residual, low, high, rate, at, position, replica, channels, c, real, BIASED, ADDED, DROPPED)
        centre = tl.load(mean + replica * tokens + token, mask=token < tokens, other=0.0)
        rstd = tl.load(scale + replica * tokens + token, mask=token < tokens, other=0.0)
        normal = tl.where(real, (s - centre[:, None]) * rstd[:, None], 0.0)
        dy = load(dout + at, real)
        dnormal = dy * g[None, :]
        along = tl.sum(dnormal * normal, axis=1) / channels
        ds = rstd[:, None] * (dnormal - (tl.sum(dnormal, axis=1) / channels)[:, None] - normal * along[:, None])
        dgain += tl.sum(dy * normal, axis=0)
        dshift += tl.sum(dy, axis=0)
        if ADDED:
            store(dresidual + at, ds, real)
        if DROPPED:
            ds = masked(ds, position, low, high, rate)
        dbias += tl.sum(tl.where(real, ds, 0.0), axis=0)
        store(dx + at, ds, real)
    share = shares + tl.program_id(0).to(tl.int64) * 3 * channels + c
    tl.store(share, dgain, mask=c < channels)
    tl.store(share + channels, dshift, mask=c < channels)
    tl.store(share + 2 * channels, dbias, mask=c < channels)


def _tile(channels: int) -> tuple[int, int]:
    """Tokens and channels of a tile."""
    width = triton.next_power_of_2(channels)
    return max(1, TILE // width), width


def forward(
    x: Tensor, bias: Tensor | None, residual: Tensor | None, gain: Tensor, shift: Tensor, rate: Tensor | None,
    key: Tensor | None, layout: RowLayout, eps: float, dtype: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """The result in ``dtype``, and each token's mean and 1 / standard deviation, (replica, tokens).

    ``x``, ``residual``: (replica, tokens, channel). ``bias``, ``gain``, ``shift``: (replica, channel). ``rate``,
    ``key``: (replica,), None for no dropout. ``layout`` says where the tokens lie in the dropout mask.
    """
    replica, tokens, channels = x.shape
    out = torch.empty(x.shape, dtype=dtype, device=x.device)
    mean, scale = torch.empty((2, replica, tokens), device=x.device)
    rows, width = _tile(channels)
    _norm_forward[(replica * triton.cdiv(tokens, rows),)](
        x, x if bias is None else bias, x if residual is None else residual, gain, shift, *mask_of(x, rate, key),
        out, mean, scale, tokens, layout.length, channels, layout.gap, layout.begin, eps,
        bias is not None, residual is not None, key is not None, rows, width,
    )  # fmt: skip
    return out, mean, scale


def backward(
    dout: Tensor, x: Tensor, bias: Tensor | None, residual: Tensor | None, gain: Tensor, rate: Tensor | None,
    key: Tensor | None, mean: Tensor, scale: Tensor, layout: RowLayout,
) -> tuple[Tensor, Tensor | None, Tensor]:  # fmt: skip
    """Gradients of x and of the residual, and those of gain, shift and bias as (replica, 3, channel).

    ``mean`` and ``scale`` are what ``forward`` returned.
    """
    replica, tokens, channels = x.shape
    dx = torch.empty_like(x)
    dresidual = None if residual is None else torch.empty_like(residual)
    rows, width = _tile(channels)
    programs = triton.cdiv(tokens, rows * TILES)
    shares = torch.empty((replica, programs, 3 * channels), device=x.device)
    _norm_backward[(replica * programs,)](
        x, x if bias is None else bias, x if residual is None else residual, gain, *mask_of(x, rate, key),
        mean, scale, dout, dx, dx if dresidual is None else dresidual, shares,
        tokens, layout.length, channels, layout.gap, layout.begin,
        bias is not None, residual is not None, key is not None, rows, width, TILES,
    )  # fmt: skip
    return dx, dresidual, sum_partials(shares).view(replica, 3, channels)
