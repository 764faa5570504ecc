"""The causal depthwise convolution with SiLU on CUDA, in Triton, for ``mdaf.model.ops.causal_conv``.

A program takes a block of channels of one row (one sequence), in the backward pass of up to ``ROWS`` rows. It goes
through time in segments of ``SEGMENT`` steps. The steps of a segment, and the neighbours that the window reaches, are
loaded at once. Neighbouring segments overlap; the overlap is read twice, the second time from cache.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from mdaf.model.kernels.rows import pitched
from mdaf.model.kernels.triton_math import load, sigmoid, store, sum_partials

#: Steps whose inputs are loaded at once.
SEGMENT = 4
#: Channels of a program: one warp, four neighbouring channels for each thread.
CHANNELS = 128
#: Rows that one program of the backward pass takes, one after the other.
ROWS = 4


@triton.jit(do_not_specialize=["batch", "length"])
def _conv_forward(
    x, weight, bias, lengths, out, x_pitch, batch, length, channels,
    RAGGED: tl.constexpr, SEGMENT: tl.constexpr, CHANNELS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(channels, CHANNELS)
    row = (tl.program_id(0) // blocks).to(tl.int64)
    c = (tl.program_id(0) % blocks) * CHANNELS + tl.arange(0, CHANNELS)
    first_c = (row // batch) * channels + c
    steps = length
    if RAGGED:
        steps = tl.minimum(tl.maximum(tl.load(lengths + row), 0), length).to(tl.int32)
    x += row * length * x_pitch
    out += row * length * channels
    shift = load(bias + first_c, c < channels)
    taps = ()
    for k in tl.static_range(WIDTH):
        taps = taps + (load(weight + first_c * WIDTH + k, c < channels),)
    for segment in range(tl.cdiv(length, SEGMENT)):
        xs = ()
        for i in tl.static_range(SEGMENT + WIDTH - 1):
            t = segment * SEGMENT + i - (WIDTH - 1)
            xs = xs + (load(x + t * x_pitch + c, c < tl.where((t >= 0) & (t < steps), channels, 0)),)
        for i in tl.static_range(SEGMENT):
            t = segment * SEGMENT + i
            total = shift
            for k in tl.static_range(WIDTH):
                total += taps[k] * xs[i + k]
            y = tl.where(c < tl.where(t < steps, channels, 0), total * sigmoid(total), 0.0)
            store(out + t * channels + c, y, c < tl.where(t < length, channels, 0))


@triton.jit(do_not_specialize=["batch", "length"])
def _conv_backward(
    x, weight, bias, lengths, dout, dx, dparameters, x_pitch, batch, length, channels,
    RAGGED: tl.constexpr, ROWS: tl.constexpr, SEGMENT: tl.constexpr, CHANNELS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(channels, CHANNELS)
    groups = tl.cdiv(batch, ROWS)
    c = (tl.program_id(0) % blocks) * CHANNELS + tl.arange(0, CHANNELS)
    part = (tl.program_id(0) // blocks).to(tl.int64)
    first_c = (part // groups) * channels + c
    shift = load(bias + first_c, c < channels)
    dparameters += part * (WIDTH + 1) * channels + c
    taps = ()
    for k in tl.static_range(WIDTH):
        taps = taps + (load(weight + first_c * WIDTH + k, c < channels),)
    dtaps = ()
    for _ in tl.static_range(WIDTH):
        dtaps = dtaps + (tl.zeros((CHANNELS,), tl.float32),)
    dbias = tl.zeros((CHANNELS,), tl.float32)
    first = (part % groups).to(tl.int32) * ROWS
    for member in range(first, tl.minimum(first + ROWS, batch)):
        row = (part // groups) * batch + member
        steps = length
        if RAGGED:
            steps = tl.minimum(tl.maximum(tl.load(lengths + row), 0), length).to(tl.int32)
        x_row = x + row * length * x_pitch
        dout_row = dout + row * length * channels
        dx_row = dx + row * length * channels
        for segment in range(tl.cdiv(length, SEGMENT)):
            xs = ()
            for i in tl.static_range(SEGMENT + 2 * (WIDTH - 1)):
                t = segment * SEGMENT + i - (WIDTH - 1)
                xs = xs + (load(x_row + t * x_pitch + c, c < tl.where((t >= 0) & (t < steps), channels, 0)),)
            dtotals = ()
            for i in tl.static_range(SEGMENT + WIDTH - 1):
                t = segment * SEGMENT + i
                total = shift
                for k in tl.static_range(WIDTH):
                    total += taps[k] * xs[i + k]
                s = sigmoid(total)
                dy = load(dout_row + t * channels + c, c < tl.where(t < steps, channels, 0))
                dtotals = dtotals + (dy * s * (1.0 + total * (1.0 - s)),)
            shares = ()
            for k in tl.static_range(WIDTH):
                share = dtaps[k]
                for i in tl.static_range(SEGMENT):
                    share += dtotals[i] * xs[i + k]
                shares = shares + (share,)
            dtaps = shares
            for i in tl.static_range(SEGMENT):
                t = segment * SEGMENT + i
                dbias += dtotals[i]
                dx_t = tl.zeros((CHANNELS,), tl.float32)
                for k in tl.static_range(WIDTH):
                    dx_t += taps[k] * dtotals[i + WIDTH - 1 - k]
                dx_t = tl.where(c < tl.where(t < steps, channels, 0), dx_t, 0.0)
                store(dx_row + t * channels + c, dx_t, c < tl.where(t < length, channels, 0))
    for k in tl.static_range(WIDTH):
        tl.store(dparameters + k * channels, dtaps[k], mask=c < channels)
    tl.store(dparameters + WIDTH * channels, dbias, mask=c < channels)


class _CausalConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, lengths: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight, bias, lengths)
        replica, batch, length, channel = x.shape
        out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        x, x_pitch = pitched(x)
        _conv_forward[(replica * batch * triton.cdiv(channel, CHANNELS),)](
            x, weight.contiguous(), bias.contiguous(), _or(lengths, x), out, x_pitch, batch, length, channel,
            lengths is not None, SEGMENT, CHANNELS, weight.shape[2], num_warps=1,
        )  # fmt: skip
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, lengths = ctx.saved_tensors
        replica, batch, length, channel = x.shape
        width = weight.shape[2]
        groups = triton.cdiv(batch, ROWS)
        dx = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        dparameters = torch.empty((replica, groups, (width + 1) * channel), dtype=torch.float32, device=x.device)
        x, x_pitch = pitched(x)
        _conv_backward[(replica * groups * triton.cdiv(channel, CHANNELS),)](
            x, weight.contiguous(), bias.contiguous(), _or(lengths, x), dout.contiguous(), dx, dparameters, x_pitch,
            batch, length, channel, lengths is not None, ROWS, SEGMENT, CHANNELS, width, num_warps=1,
        )  # fmt: skip
        shares = sum_partials(dparameters).view(replica, width + 1, channel)
        return dx, shares[:, :width].transpose(1, 2).to(weight.dtype), shares[:, width].to(bias.dtype), None


def _or(tensor: Tensor | None, stand_in: Tensor) -> Tensor:
    """``tensor``, or ``stand_in`` if there is none: a kernel needs a pointer, and never reads this one."""
    return stand_in if tensor is None else tensor.contiguous()


def causal_conv(x: Tensor, weight: Tensor, bias: Tensor, lengths: Tensor | None) -> Tensor:
    """Arguments and result as in ``mdaf.model.ops.causal_conv.causal_conv``; computes in float32."""
    result: Tensor = _CausalConv.apply(x, weight, bias, lengths)
    return result
