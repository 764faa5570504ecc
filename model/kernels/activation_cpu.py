"""dropout(activation(x + bias)) on CPU cores, in one pass, for ``mdaf.model.ops.layer_norm.activated``.

The backward pass computes x + bias again instead of keeping it.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mdaf.model.kernels.dropout_cpu import keys_of, mask_token, spread
from mdaf.model.kernels.elementary import bell_and_erf
from mdaf.model.kernels.numba_jit import kernel, loop
from mdaf.model.kernels.rows import RowLayout
from mdaf.model.kernels.threads import chunk_count, for_each_chunk, in_order

RELU, GELU, LEAKY_RELU = 0, 1, 2
ACTIVATIONS = {"relu": RELU, "gelu": GELU, "leaky_relu": LEAKY_RELU}

_ZERO = np.float32(0.0)
_HALF = np.float32(0.5)
_ONE = np.float32(1.0)
_LEAK = np.float32(0.01)
_DENSITY = np.float32(0.3989422804014327)  # 1 / sqrt(2 pi)


@loop
def _gelu(x, bias, out):
    for c in range(x.size):
        h = np.float32(x[c] + bias[c])
        _, erf = bell_and_erf(h)
        out[c] = _HALF * h * (_ONE + erf)


@loop
def _gelu_gradient(x, bias, dout, dx):
    for c in range(x.size):
        h = np.float32(x[c] + bias[c])
        bell, erf = bell_and_erf(h)
        dx[c] = dout[c] * (_HALF * (_ONE + erf) + h * _DENSITY * bell)


@loop
def _rectify(x, bias, leak, out):
    for c in range(x.size):
        h = x[c] + bias[c]
        out[c] = h if h > _ZERO else h * leak


@loop
def _rectifier_gradient(x, bias, leak, dout, dx):
    for c in range(x.size):
        dx[c] = dout[c] if x[c] + bias[c] > _ZERO else dout[c] * leak


@loop
def _add(part, total):
    for c in range(part.size):
        total[c] += part[c]


@kernel
def _forward(first, last, chunks, kind, layout, x, bias, rate, key, out):
    """Kernel of ``for_each_chunk``; x and out (replica, token, channel)."""
    tokens = x.shape[1]
    leak = _LEAK if kind == LEAKY_RELU else _ZERO
    for task in range(first, last):
        r = task // chunks
        low, high = spread(key[r])
        for token in range(task % chunks * tokens // chunks, (task % chunks + 1) * tokens // chunks):
            if kind == GELU:
                _gelu(x[r, token], bias[r], out[r, token])
            else:
                _rectify(x[r, token], bias[r], leak, out[r, token])
            if rate[r] > _ZERO:
                mask_token(out[r, token], token, layout, low, high, rate[r])


@kernel
def _backward(first, last, chunks, kind, layout, x, bias, rate, key, dout, dx, dbias):
    """Kernel of ``for_each_chunk``; dbias (replica, chunk, channel) holds each chunk's partial sum."""
    tokens = x.shape[1]
    leak = _LEAK if kind == LEAKY_RELU else _ZERO
    for task in range(first, last):
        r = task // chunks
        low, high = spread(key[r])
        share = dbias[r, task % chunks]
        share[:] = _ZERO
        for token in range(task % chunks * tokens // chunks, (task % chunks + 1) * tokens // chunks):
            if kind == GELU:
                _gelu_gradient(x[r, token], bias[r], dout[r, token], dx[r, token])
            else:
                _rectifier_gradient(x[r, token], bias[r], leak, dout[r, token], dx[r, token])
            if rate[r] > _ZERO:
                mask_token(dx[r, token], token, layout, low, high, rate[r])
            _add(dx[r, token], share)


def forward(x: Tensor, bias: Tensor, kind: str, rate: Tensor | None, key: Tensor | None, layout: RowLayout) -> Tensor:
    """dropout(activation(x + bias)): x (replica, tokens, channel) float32 -> the same shape.

    ``bias``: (replica, channel). ``kind``: a key of ``ACTIVATIONS``. ``rate``, ``key``: (replica,), None without
    dropout. ``layout`` says where the tokens lie in the dropout mask.
    """
    out, chunks = torch.empty_like(x), chunk_count(x.shape[1])
    arrays = (x.numpy(), bias.detach().contiguous().numpy(), *keys_of(x, rate, key), out.numpy())
    for_each_chunk(_forward, chunks * len(x), chunks, ACTIVATIONS[kind], tuple(layout), *arrays)
    return out


def backward(
    dout: Tensor, x: Tensor, bias: Tensor, kind: str, rate: Tensor | None, key: Tensor | None, layout: RowLayout
) -> tuple[Tensor, Tensor]:
    """Gradients of x, in its shape, and of the bias (replica, channel). Arguments as in ``forward``."""
    dx, chunks = torch.empty_like(x), chunk_count(x.shape[1])
    dbias = np.empty((len(x), chunks, x.shape[2]), np.float32)
    arrays = (x.numpy(), bias.detach().contiguous().numpy(), *keys_of(x, rate, key), dout.numpy(), dx.numpy(), dbias)
    for_each_chunk(_backward, chunks * len(x), chunks, ACTIVATIONS[kind], tuple(layout), *arrays)
    return dx, in_order(dbias)
