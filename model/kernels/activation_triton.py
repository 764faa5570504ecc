"""dropout(activation(x + bias)) on CUDA, in Triton, in one pass, for ``mdaf.model.ops.layer_norm.activated``.

The backward pass computes x + bias again instead of keeping it.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from mdaf.model.kernels.hash_triton import PER_REPLICA, mask_of, masked, positions, spread
from mdaf.model.kernels.rows import RowLayout
from mdaf.model.kernels.triton_math import load, store, sum_partials

#: Tokens and channels of a tile. A program of the backward pass takes ``TILES`` tiles of consecutive tokens.
TOKENS, CHANNELS = 16, 128
TILES = 8
ACTIVATIONS = {"relu": 0, "gelu": 1, "leaky_relu": 2}

_ROOT_HALF = tl.constexpr(0.7071067811865476)
_DENSITY = tl.constexpr(0.3989422804014327)
_LEAK = tl.constexpr(0.01)


@triton.jit
def _value(h, KIND: tl.constexpr):
    if KIND == 1:
        y = 0.5 * h * (1.0 + tl.erf(h * _ROOT_HALF))
    else:
        y = tl.where(h > 0.0, h, 0.0 if KIND == 0 else h * _LEAK)
    return y


@triton.jit
def _slope(h, KIND: tl.constexpr):
    if KIND == 1:
        d = 0.5 * (1.0 + tl.erf(h * _ROOT_HALF)) + h * _DENSITY * tl.exp(-0.5 * h * h)
    else:
        d = tl.where(h > 0.0, 1.0, 0.0 if KIND == 0 else _LEAK)
    return d


@triton.jit(do_not_specialize=["tokens", "length", "gap", "begin"], do_not_specialize_on_alignment=PER_REPLICA)
def _activation_forward(
    x, bias, rates, keys, out, tokens, length, channels, gap, begin,
    DROPPED: tl.constexpr, KIND: tl.constexpr, TOKENS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    columns = tl.cdiv(channels, CHANNELS)
    blocks = tl.cdiv(tokens, TOKENS) * columns
    replica = (tl.program_id(0) // blocks).to(tl.int64)
    block = tl.program_id(0) % blocks
    token = (block // columns) * TOKENS + tl.arange(0, TOKENS)
    c = (block % columns) * CHANNELS + tl.arange(0, CHANNELS)
    real = (token < tokens)[:, None] & (c < channels)[None, :]
    at = (replica * tokens + token)[:, None] * channels + c[None, :]
    y = _value(load(x + at, real) + load(bias + replica * channels + c, c < channels)[None, :], KIND)
    if DROPPED:
        position = positions(token, c, length, channels, gap, begin)
        low, high = spread(tl.load(keys + replica))
        y = masked(y, position, low, high, tl.load(rates + replica))
    store(out + at, y, real)


@triton.jit(do_not_specialize=["tokens", "length", "gap", "begin"], do_not_specialize_on_alignment=PER_REPLICA)
def _activation_backward(
    x, bias, rates, keys, dout, dx, shares, tokens, length, channels, gap, begin,
    DROPPED: tl.constexpr, KIND: tl.constexpr, TOKENS: tl.constexpr, CHANNELS: tl.constexpr, TILES: tl.constexpr,
):  # fmt: skip
    columns = tl.cdiv(channels, CHANNELS)
    programs = tl.cdiv(tokens, TOKENS * TILES)
    replica = (tl.program_id(0) // (programs * columns)).to(tl.int64)
    block = tl.program_id(0) % (programs * columns)
    c = (block % columns) * CHANNELS + tl.arange(0, CHANNELS)
    b = load(bias + replica * channels + c, c < channels)
    low, high = spread(tl.load(keys + replica))
    rate = tl.load(rates + replica)
    dbias = tl.zeros((CHANNELS,), tl.float32)
    for tile in range(TILES):
        token = ((block // columns) * TILES + tile) * TOKENS + tl.arange(0, TOKENS)
        real = (token < tokens)[:, None] & (c < channels)[None, :]
        at = (replica * tokens + token)[:, None] * channels + c[None, :]
        dy = load(dout + at, real)
        if DROPPED:
            position = positions(token, c, length, channels, gap, begin)
            dy = masked(dy, position, low, high, rate)
        dh = tl.where(real, dy * _slope(load(x + at, real) + b[None, :], KIND), 0.0)
        dbias += tl.sum(dh, axis=0)
        store(dx + at, dh, real)
    tl.store(shares + (replica * programs + block // columns) * channels + c, dbias, mask=c < channels)


def forward(
    x: Tensor,
    bias: Tensor,
    kind: str,
    rate: Tensor | None,
    key: Tensor | None,
    layout: RowLayout,
) -> Tensor:
    """dropout(activation(x + bias)): x (replica, tokens, channel) -> the same shape and type.

    ``bias``: (replica, channel). ``kind``: a key of ``ACTIVATIONS``. ``rate``, ``key``: (replica,), None without
    dropout. ``layout`` says where the tokens lie in the dropout mask.
    """
    replica, tokens, channels = x.shape
    out = torch.empty_like(x)
    _activation_forward[(replica * triton.cdiv(tokens, TOKENS) * triton.cdiv(channels, CHANNELS),)](
        x, bias, *mask_of(x, rate, key), out, tokens, layout.length, channels, layout.gap, layout.begin,
        key is not None, ACTIVATIONS[kind], TOKENS, CHANNELS,
    )  # fmt: skip
    return out


def backward(
    dout: Tensor,
    x: Tensor,
    bias: Tensor,
    kind: str,
    rate: Tensor | None,
    key: Tensor | None,
    layout: RowLayout,
) -> tuple[Tensor, Tensor]:
    """Gradients of x, in its shape and type, and of the bias (replica, channel) in float32.

    Arguments as in ``forward``.
    """
    replica, tokens, channels = x.shape
    dx = torch.empty_like(x)
    programs = triton.cdiv(tokens, TOKENS * TILES)
    shares = torch.empty((replica, programs, channels), device=x.device)
    _activation_backward[(replica * programs * triton.cdiv(channels, CHANNELS),)](
        x, bias, *mask_of(x, rate, key), dout, dx, shares, tokens, layout.length, channels, layout.gap, layout.begin,
        key is not None, ACTIVATIONS[kind], TOKENS, CHANNELS, TILES,
    )  # fmt: skip
    return dx, sum_partials(shares)
