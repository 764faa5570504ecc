"""Layer normalization of a sum on CPU cores, for ``mdaf.model.ops.layer_norm.normed_sum``.

It computes LN(dropout(x + bias) + residual) * gain + shift, one token at a time. The backward pass computes the sum
again from ``x`` and ``residual``. The gradients of gain, shift and bias are sums over tokens. Each chunk of tokens has
its own partial sum, and the partial sums are added in the order of the chunks.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from mdaf.model.kernels.dropout_cpu import keys_of, mask_token, spread
from mdaf.model.kernels.numba_jit import exact, kernel, loop
from mdaf.model.kernels.rows import RowLayout
from mdaf.model.kernels.threads import chunk_count, for_each_chunk, in_order

_ZERO = np.float32(0.0)
_ONE = np.float32(1.0)


@loop
def _copy_sum(x, bias, s):
    for c in range(s.size):
        s[c] = x[c] + bias[c]


@loop
def add(part, total):
    """total += part."""
    for c in range(total.size):
        total[c] += part[c]


@loop
def mean_of(s):
    """The mean of the channels."""
    total = _ZERO
    for c in range(s.size):
        total += s[c]
    return np.float32(total / np.float32(s.size))


@loop
def scale_of(s, mean, eps):
    """1 / the standard deviation."""
    total = _ZERO
    for c in range(s.size):
        total += (s[c] - mean) * (s[c] - mean)
    return np.float32(_ONE / np.sqrt(np.float32(total / np.float32(s.size) + eps)))


@loop
def _normalize_and_scale(s, mean, scale, gain, shift, out):
    for c in range(s.size):
        out[c] = (s[c] - mean) * scale * gain[c] + shift[c]


@loop
def normalize(s, mean, scale):
    """s = (s - mean) * scale."""
    for c in range(s.size):
        s[c] = (s[c] - mean) * scale


@loop
def norm_means(normal, dout, gain):
    """The means over channels of dnormal = dout * gain, and of dnormal * normal. LN's gradient needs both."""
    total = _ZERO
    along = _ZERO
    for c in range(normal.size):
        dnormal = dout[c] * gain[c]
        total += dnormal
        along += dnormal * normal[c]
    count = np.float32(normal.size)
    return np.float32(total / count), np.float32(along / count)


@loop
def _input_gradient(normal, dout, gain, scale, mean, along, ds):
    for c in range(normal.size):
        ds[c] = scale * (dout[c] * gain[c] - mean - normal[c] * along)


@loop
def add_product(a, b, total):
    """total += a * b."""
    for c in range(total.size):
        total[c] += a[c] * b[c]


@exact
def _sum(x, bias, residual, token, layout, low, high, rate, s):
    """s = dropout(x + bias) + residual for one token. An empty ``residual`` adds nothing."""
    _copy_sum(x, bias, s)
    if rate > _ZERO:
        mask_token(s, token, layout, low, high, rate)
    if residual.size > 0:
        add(residual, s)


@kernel
def _forward(first, last, chunks, layout, eps, x, bias, residual, rate, key, gain, shift, out, mean, scale):
    """Kernel of ``for_each_chunk``; x, residual and out (replica, token, channel)."""
    tokens = x.shape[1]
    s = np.empty(x.shape[2], np.float32)
    for task in range(first, last):
        r = task // chunks
        low, high = spread(key[r])
        for t in range(task % chunks * tokens // chunks, (task % chunks + 1) * tokens // chunks):
            _sum(x[r, t], bias[r], residual[r, t], t, layout, low, high, rate[r], s)
            mean[r, t] = mean_of(s)
            scale[r, t] = scale_of(s, mean[r, t], eps)
            _normalize_and_scale(s, mean[r, t], scale[r, t], gain[r], shift[r], out[r, t])


@kernel
def _backward(
    first, last, chunks, layout, x, bias, residual, rate, key, gain, mean, scale, dout, dx, dresidual, shares
):  # fmt: skip
    """Kernel of ``for_each_chunk``; shares (replica, chunk, 3, channel): partial gradients of gain, shift and bias."""
    tokens = x.shape[1]
    s = np.empty(x.shape[2], np.float32)
    for task in range(first, last):
        r = task // chunks
        low, high = spread(key[r])
        share = shares[r, task % chunks]
        share[:] = _ZERO
        dgain, dshift, dbias = share[0], share[1], share[2]  # numba takes these for contiguous, unpacked rows not
        for t in range(task % chunks * tokens // chunks, (task % chunks + 1) * tokens // chunks):
            _sum(x[r, t], bias[r], residual[r, t], t, layout, low, high, rate[r], s)
            normalize(s, mean[r, t], scale[r, t])
            mean_d, along = norm_means(s, dout[r, t], gain[r])
            _input_gradient(s, dout[r, t], gain[r], scale[r, t], mean_d, along, dx[r, t])
            add_product(dout[r, t], s, dgain)
            add(dout[r, t], dshift)
            if residual.size > 0:
                dresidual[r, t] = dx[r, t]
            if rate[r] > _ZERO:
                mask_token(dx[r, t], t, layout, low, high, rate[r])
            add(dx[r, t], dbias)


def _inputs(
    x: Tensor, bias: Tensor | None, residual: Tensor | None, rate: Tensor | None, key: Tensor | None
) -> tuple[Any, ...]:
    """The inputs of both kernels. A missing bias is zeros, a missing residual an array without channels."""
    replica, tokens, channels = x.shape
    added = np.zeros((replica, channels), np.float32) if bias is None else bias.detach().contiguous().numpy()
    rest = np.empty((replica, tokens, 0), np.float32) if residual is None else residual.numpy()
    return x.numpy(), added, rest, *keys_of(x, rate, key)


def forward(
    x: Tensor, bias: Tensor | None, residual: Tensor | None, gain: Tensor, shift: Tensor, rate: Tensor | None,
    key: Tensor | None, layout: RowLayout, eps: float, dtype: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """The result in ``dtype``, and each token's mean and 1 / standard deviation, (replica, tokens).

    ``x``, ``residual``: (replica, tokens, channel) float32. ``bias``, ``gain``, ``shift``: (replica, channel).
    ``rate``, ``key``: (replica,), None without dropout. ``layout`` says where the tokens lie in the dropout mask.
    """
    out, chunks = torch.empty_like(x), chunk_count(x.shape[1])
    mean, scale = torch.empty((2, *x.shape[:2]))
    parameters = (part.detach().contiguous().numpy() for part in (gain, shift))
    arrays = (*_inputs(x, bias, residual, rate, key), *parameters, out.numpy(), mean.numpy(), scale.numpy())
    for_each_chunk(_forward, chunks * len(x), chunks, tuple(layout), np.float32(eps), *arrays)
    return out.to(dtype), mean, scale


def backward(
    dout: Tensor, x: Tensor, bias: Tensor | None, residual: Tensor | None, gain: Tensor, rate: Tensor | None,
    key: Tensor | None, mean: Tensor, scale: Tensor, layout: RowLayout,
) -> tuple[Tensor, Tensor | None, Tensor]:  # fmt: skip
    """Gradients of x and of the residual, and those of gain, shift and bias as (replica, 3, channel).

    ``mean`` and ``scale`` are what ``forward`` returned.
    """
    dx, chunks = torch.empty_like(x), chunk_count(x.shape[1])
    dresidual = None if residual is None else torch.empty_like(residual)
    shares = np.empty((len(x), chunks, 3, x.shape[2]), np.float32)
    arrays = (
        *_inputs(x, bias, residual, rate, key), gain.detach().contiguous().numpy(), mean.numpy(), scale.numpy(),
        dout.numpy(), dx.numpy(), (dx if dresidual is None else dresidual).numpy(), shares,
    )  # fmt: skip
    for_each_chunk(_backward, chunks * len(x), chunks, tuple(layout), *arrays)
    return dx, dresidual, in_order(shares)
