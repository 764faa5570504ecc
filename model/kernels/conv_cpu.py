"""The causal depthwise convolution with SiLU on CPU cores, for ``mdaf.model.ops.causal_conv``.

A thread computes one row (one sequence) at a time. Inner loops run over channels, which are contiguous.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mdaf.model.kernels.elementary import sigmoid
from mdaf.model.kernels.numba_jit import kernel, loop
from mdaf.model.kernels.rows import flat_array
from mdaf.model.kernels.threads import chunk_count, for_each_chunk, in_order

_ZERO = np.float32(0.0)
_ONE = np.float32(1.0)


@loop
def _convolve_step(x, x_at, x_pitch, weight, bias, t, total):
    """``total`` (channel) = bias + the weighted sum of step ``t`` and of the steps before it."""
    width, channels = weight.shape
    for c in range(channels):
        total[c] = bias[c]
    for k in range(max(0, width - 1 - t), width):
        start = x_at + (t - width + 1 + k) * x_pitch
        for c in range(channels):
            total[c] += weight[k, c] * x[np.uint64(start + c)]


@loop
def _silu(total, out, at):
    for c in range(total.size):
        out[np.uint64(at + c)] = total[c] * sigmoid(total[c])


@loop
def _silu_gradient(total, dout, at, dtotal, dbias):
    for c in range(total.size):
        s = sigmoid(total[c])
        g = dout[np.uint64(at + c)] * s * (_ONE + total[c] * (_ONE - s))
        dtotal[c] = g
        dbias[c] += g


@loop
def _add_weight_gradient(x, x_at, x_pitch, t, dtotal, dweight):
    width, channels = dweight.shape
    for k in range(max(0, width - 1 - t), width):
        start = x_at + (t - width + 1 + k) * x_pitch
        for c in range(channels):
            dweight[k, c] += dtotal[c] * x[np.uint64(start + c)]


@loop
def _input_gradient(weight, dtotal, t, steps, dx, at):
    """Writes dx of step ``t``, computed from ``dtotal`` (step, channel) of this step and of the later ones."""
    width, channels = weight.shape
    for c in range(channels):
        dx[np.uint64(at + c)] = weight[width - 1, c] * dtotal[t, c]
    for k in range(max(0, width + t - steps), width - 1):
        for c in range(channels):
            dx[np.uint64(at + c)] += weight[k, c] * dtotal[t + width - 1 - k, c]


@kernel
def _forward(first, last, chunks, length, x, x_pitch, weight, bias, lengths, out):
    """Kernel of ``for_each_chunk``; weight (replica, width, channel), x and out flat."""
    replicas, _, channels = weight.shape
    batch = lengths.size // replicas
    total = np.empty(channels, np.float32)
    for task in range(first, last):
        replica = task // chunks
        begin, end = task % chunks * batch // chunks, (task % chunks + 1) * batch // chunks
        for row in range(replica * batch + begin, replica * batch + end):
            steps = min(max(lengths[row], 0), length)
            start = row * length
            for t in range(steps):
                _convolve_step(x, start * x_pitch, x_pitch, weight[replica], bias[replica], t, total)
                _silu(total, out, (start + t) * channels)
            out[(start + steps) * channels : (start + length) * channels] = _ZERO


@kernel
def _backward(first, last, chunks, length, x, x_pitch, weight, bias, lengths, dout, dx, dweight, dbias):
    """Kernel of ``for_each_chunk``.

    dweight (replica, chunk, width, channel) and dbias (replica, chunk, channel) hold each chunk's partial sums.
    """
    replicas, _, channels = weight.shape
    batch = lengths.size // replicas
    total = np.empty(channels, np.float32)
    dtotal = np.empty((length, channels), np.float32)
    for task in range(first, last):
        replica = task // chunks
        chunk = task % chunks
        dweight[replica, chunk] = _ZERO
        dbias[replica, chunk] = _ZERO
        for row in range(replica * batch + chunk, (replica + 1) * batch, chunks):
            steps = min(max(lengths[row], 0), length)
            start = row * length
            for t in range(steps):
                _convolve_step(x, start * x_pitch, x_pitch, weight[replica], bias[replica], t, total)
                _silu_gradient(total, dout, (start + t) * channels, dtotal[t], dbias[replica, chunk])
                _add_weight_gradient(x, start * x_pitch, x_pitch, t, dtotal[t], dweight[replica, chunk])
            for t in range(steps):
                _input_gradient(weight[replica], dtotal, t, steps, dx, (start + t) * channels)
            dx[(start + steps) * channels : (start + length) * channels] = _ZERO


class _CausalConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, lengths: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight, bias, lengths)
        out = torch.empty(x.shape)
        chunks, inputs = _arrays(x, weight, bias, lengths)
        for_each_chunk(_forward, chunks * x.shape[0], chunks, *inputs, out.view(-1).numpy())
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, lengths = ctx.saved_tensors
        chunks, inputs = _arrays(x, weight, bias, lengths)
        replica, channel, width = weight.shape
        dx = torch.empty(x.shape)
        dweight = np.empty((replica, chunks, width, channel), np.float32)
        dbias = np.empty((replica, chunks, channel), np.float32)
        arrays = (dout.contiguous().view(-1).numpy(), dx.view(-1).numpy(), dweight, dbias)
        for_each_chunk(_backward, chunks * replica, chunks, *inputs, *arrays)
        return dx, in_order(dweight).transpose(1, 2).contiguous(), in_order(dbias), None


def _arrays(x: Tensor, weight: Tensor, bias: Tensor, lengths: Tensor | None) -> tuple[int, tuple[Any, ...]]:
    """The number of chunks of each replica, and the kernels' inputs: views, but for the weight, which is transposed."""
    replica, batch, length, _ = x.shape
    turned = weight.detach().transpose(1, 2).contiguous().numpy()
    rows = replica * batch
    valid = np.full(rows, length, np.int64) if lengths is None else lengths.reshape(-1).contiguous().numpy()
    return chunk_count(batch), (length, *flat_array(x), turned, bias.detach().contiguous().numpy(), valid)


def causal_conv(x: Tensor, weight: Tensor, bias: Tensor, lengths: Tensor | None) -> Tensor:
    """Arguments and result as in ``mdaf.model.ops.causal_conv.causal_conv``; computes in float32."""
    result: Tensor = _CausalConv.apply(x.float(), weight.float(), bias.float(), lengths)
    return result.to(x.dtype)
