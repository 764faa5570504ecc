"""The selective scan on CUDA for short sequences, (batch, time, channel), in Triton.

A program of one warp owns a block of channels of one row and walks through time with the state in registers. The
forward pass leaves the state at the start of every segment of ``SEGMENT`` steps; backward takes the segments last to
first, runs each again from there with its states in registers, and walks back. Nothing is added atomically: a program
writes its own share of what is summed over rows (A, D, the bias) or over channels (B, C), and the shares are added in
a fixed order.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from model.kernels.rows import pitched
from model.kernels.triton_math import LOG2_E, load, sigmoid, softplus, softplus_and_slope, store, sum_partials

#: Steps between two kept states. More of them keep less memory busy but do not fit in a thread's registers.
SEGMENT = 3
#: A program's channels. Its warp takes four neighbouring channels a thread and splits the states over four threads.
CHANNELS = 32

_LN_2 = tl.constexpr(0.6931471805599453)


@triton.jit
def _forward(
    x, delta, z, A, B, C, D, bias, lengths, out, kept,
    x_pitch, delta_pitch, z_pitch, B_pitch, C_pitch, batch, length, channels, states, segments,
    GATED: tl.constexpr, BIASED: tl.constexpr, RAGGED: tl.constexpr, KEEP: tl.constexpr,
    SEGMENT: tl.constexpr, CHANNELS: tl.constexpr, STATES: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(channels, CHANNELS)
    row = (tl.program_id(0) // blocks).to(tl.int64)
    replica = row // batch
    c = (tl.program_id(0) % blocks) * CHANNELS + tl.arange(0, CHANNELS)
    n = tl.arange(0, STATES)
    real_c = c < channels
    real_n = n < states
    real = real_n[:, None] & real_c[None, :]
    cell = n[:, None] * channels + c[None, :]
    steps = length
    if RAGGED:
        steps = tl.minimum(tl.maximum(tl.load(lengths + row), 0), length).to(tl.int32)
    rate = tl.load(A + replica * states * channels + cell, mask=real, other=0.0)
    skip = load(D + replica * channels + c, real_c)
    shift = tl.zeros((CHANNELS,), tl.float32)
    if BIASED:
        shift = load(bias + replica * channels + c, real_c)
    start = row * length
    x += start * x_pitch
    delta += start * delta_pitch
    z += start * z_pitch
    B += start * B_pitch
    C += start * C_pitch
    out += start * channels
    kept += row * segments * states * channels
    h = tl.zeros((STATES, CHANNELS), tl.float32)
    for segment in range(tl.cdiv(steps, SEGMENT)):
        xs = ()
        dts = ()
        zs = ()
        bs = ()
        cs = ()
        for i in tl.static_range(SEGMENT):
            t = segment * SEGMENT + i
            valid = c < tl.where(t < steps, channels, 0)
            valid_n = n < tl.where(t < steps, states, 0)
            xs = xs + (load(x + t * x_pitch + c, valid),)
            dts = dts + (softplus(load(delta + t * delta_pitch + c, valid) + shift),)
            bs = bs + (load(B + t * B_pitch + n, valid_n),)
            cs = cs + (load(C + t * C_pitch + n, valid_n),)
            if GATED:
                zs = zs + (load(z + t * z_pitch + c, valid),)
        for i in tl.static_range(SEGMENT):
            t = segment * SEGMENT + i
            h = tl.exp2(dts[i][None, :] * rate) * h + (dts[i] * xs[i])[None, :] * bs[i][:, None]
            y = tl.sum(h * cs[i][:, None], axis=0) + skip * xs[i]
            if GATED:
                y = y * zs[i] * sigmoid(zs[i])
            store(out + t * channels + c, y, c < tl.where(t < steps, channels, 0))
        if KEEP:
            more = n < tl.where((segment + 1) * SEGMENT < steps, states, 0)
            tl.store(kept + segment * states * channels + cell, h, mask=more[:, None] & real_c[None, :])
    for t in range(steps, length):
        store(out + t * channels + c, tl.zeros((CHANNELS,), tl.float32), real_c)


@triton.jit
def _step_back(x, dt, slope, z, dy, b, c_n, h_before, h, dh, decay, rate, skip, GATED: tl.constexpr):
    """One step of the walk back: (dx, d raw delta, dz, dB, dC, dA's share, dy inside the gate, dh of the step
    before).
    """
    dz = dy
    if GATED:
        gate = sigmoid(z)
        y = tl.sum(h * c_n[:, None], axis=0) + skip * x
        dz = dy * y * gate * (1.0 + z * (1.0 - gate))
        dy = dy * z * gate
    g = dh + dy[None, :] * c_n[:, None]
    dC = tl.sum(dy[None, :] * h, axis=1)
    dB = tl.sum(g * (dt * x)[None, :], axis=1)
    du = tl.sum(g * b[:, None], axis=0)
    dh = g * decay
    dpower = dh * h_before
    ddelta = (tl.sum(dpower * rate, axis=0) * _LN_2 + du * x) * slope
    return du * dt + skip * dy, ddelta, dz, dB, dC, dpower * dt[None, :], dy, dh


@triton.jit
def _clear_rest(
    dx, ddelta, dz, dB, dC, steps, length, channels, states, c, n,
    GATED: tl.constexpr, CHANNELS: tl.constexpr, STATES: tl.constexpr,
):  # fmt: skip
    """Zero gradients of a row's positions past its length."""
    nothing = tl.zeros((CHANNELS,), tl.float32)
    for t in range(steps, length):
        store(dx + t * channels + c, nothing, c < channels)
        store(ddelta + t * channels + c, nothing, c < channels)
        if GATED:
            store(dz + t * channels + c, nothing, c < channels)
        tl.store(dB + t * states + n, tl.zeros((STATES,), tl.float32), mask=n < states)
        tl.store(dC + t * states + n, tl.zeros((STATES,), tl.float32), mask=n < states)


@triton.jit
def _backward(
    x, delta, z, A, B, C, D, bias, lengths, dout, kept, dx, ddelta, dz, dB, dC, dparameters,
    x_pitch, delta_pitch, z_pitch, B_pitch, C_pitch, rows, batch, length, channels, states, segments,
    GATED: tl.constexpr, BIASED: tl.constexpr, RAGGED: tl.constexpr,
    SEGMENT: tl.constexpr, CHANNELS: tl.constexpr, STATES: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(channels, CHANNELS)
    block = tl.program_id(0) % blocks
    row = (tl.program_id(0) // blocks).to(tl.int64)
    replica = row // batch
    c = block * CHANNELS + tl.arange(0, CHANNELS)
    n = tl.arange(0, STATES)
    real_c = c < channels
    real = (n < states)[:, None] & real_c[None, :]
    cell = n[:, None] * channels + c[None, :]
    steps = length
    if RAGGED:
        steps = tl.minimum(tl.maximum(tl.load(lengths + row), 0), length).to(tl.int32)
    rate = tl.load(A + replica * states * channels + cell, mask=real, other=0.0)
    skip = load(D + replica * channels + c, real_c)
    shift = tl.zeros((CHANNELS,), tl.float32)
    if BIASED:
        shift = load(bias + replica * channels + c, real_c)
    start = row * length
    x += start * x_pitch
    delta += start * delta_pitch
    z += start * z_pitch
    B += start * B_pitch
    C += start * C_pitch
    dout += start * channels
    dx += start * channels
    ddelta += start * channels
    dz += start * channels
    dB += (block.to(tl.int64) * rows * length + start) * states
    dC += (block.to(tl.int64) * rows * length + start) * states
    kept += row * segments * states * channels
    dA = tl.zeros((STATES, CHANNELS), tl.float32)
    dD = tl.zeros((CHANNELS,), tl.float32)
    dbias = tl.zeros((CHANNELS,), tl.float32)
    dh = tl.zeros((STATES, CHANNELS), tl.float32)
    full = tl.cdiv(steps, SEGMENT)
    for back in range(full):
        segment = full - 1 - back
        kept_n = n < tl.where(segment > 0, states, 0)
        h = tl.load(kept + (segment - 1) * states * channels + cell, mask=kept_n[:, None] & real_c[None, :], other=0.0)
        xs = ()
        dts = ()
        slopes = ()
        zs = ()
        dys = ()
        bs = ()
        cs = ()
        for i in tl.static_range(SEGMENT):
            t = segment * SEGMENT + i
            valid = c < tl.where(t < steps, channels, 0)
            valid_n = n < tl.where(t < steps, states, 0)
            xs = xs + (load(x + t * x_pitch + c, valid),)
            dt, slope = softplus_and_slope(load(delta + t * delta_pitch + c, valid) + shift)
            dts = dts + (dt,)
            slopes = slopes + (slope,)
            bs = bs + (load(B + t * B_pitch + n, valid_n),)
            cs = cs + (load(C + t * C_pitch + n, valid_n),)
            dys = dys + (load(dout + t * channels + c, valid),)
            zs = zs + (load(z + t * z_pitch + c, valid) if GATED else shift,)
        hs = (h,)
        for i in tl.static_range(SEGMENT - 1):
            h = tl.exp2(dts[i][None, :] * rate) * h + (dts[i] * xs[i])[None, :] * bs[i][:, None]
            hs = hs + (h,)
        for i in tl.static_range(SEGMENT - 1, -1, -1):
            t = segment * SEGMENT + i
            decay = tl.exp2(dts[i][None, :] * rate)
            if i == SEGMENT - 1:
                h = decay * hs[i] + (dts[i] * xs[i])[None, :] * bs[i][:, None]
            else:
                h = hs[i + 1]
            dx_t, ddelta_t, dz_t, dB_t, dC_t, dA_t, dy, dh = _step_back(
                xs[i], dts[i], slopes[i], zs[i], dys[i], bs[i], cs[i], hs[i], h, dh, decay, rate, skip, GATED
            )
            dA += dA_t
            dD += dy * xs[i]
            dbias += ddelta_t
            valid = c < tl.where(t < steps, channels, 0)
            valid_n = n < tl.where(t < steps, states, 0)
            store(dx + t * channels + c, dx_t, valid)
            store(ddelta + t * channels + c, ddelta_t, valid)
            if GATED:
                store(dz + t * channels + c, dz_t, valid)
            tl.store(dB + t * states + n, dB_t, mask=valid_n)
            tl.store(dC + t * states + n, dC_t, mask=valid_n)
    _clear_rest(dx, ddelta, dz, dB, dC, steps, length, channels, states, c, n, GATED, CHANNELS, STATES)
    dparameters += row * (states + 2) * channels
    tl.store(dparameters + cell, dA, mask=real)
    tl.store(dparameters + states * channels + c, dD, mask=real_c)
    tl.store(dparameters + (states + 1) * channels + c, dbias, mask=real_c)


class _SelectiveScan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor,
        z: Tensor | None, lengths: Tensor | None, delta_bias: Tensor | None,
    ) -> Tensor:  # fmt: skip
        replica, batch, length, channel = x.shape
        keep = any(ctx.needs_input_grad)
        rate = (A.float() * LOG2_E.value).transpose(1, 2).contiguous()
        segments = max(1, triton.cdiv(length, SEGMENT) - 1) if keep else 1
        kept = torch.empty((replica * batch, segments, *rate.shape[1:]) if keep else 1, device=x.device)
        out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        tensors, pitches, flags = _arguments(x, delta, z, rate, B, C, D, delta_bias, lengths)
        _forward[(replica * batch * triton.cdiv(channel, CHANNELS),)](
            *tensors, out, kept, *pitches, batch, length, channel, rate.shape[1], segments, *flags, keep,
            SEGMENT, CHANNELS, triton.next_power_of_2(rate.shape[1]), num_warps=1,
        )  # fmt: skip
        if keep:
            ctx.save_for_backward(x, delta, z, rate, B, C, D, delta_bias, lengths, kept)
            ctx.dtype = A.dtype
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
        x, delta, z, rate, B, C, D, delta_bias, lengths, kept = ctx.saved_tensors
        replica, batch, length, channel = x.shape
        state = rate.shape[1]
        rows, blocks = replica * batch, triton.cdiv(channel, CHANNELS)
        dx, ddelta = (torch.empty(x.shape, dtype=part.dtype, device=x.device) for part in (x, delta))
        dz = None if z is None else torch.empty(x.shape, dtype=z.dtype, device=x.device)
        dBC = torch.empty((2, blocks, rows * length * state), device=x.device)
        dparameters = torch.empty((replica, batch, (state + 2) * channel), device=x.device)
        tensors, pitches, flags = _arguments(x, delta, z, rate, B, C, D, delta_bias, lengths)
        _backward[(rows * blocks,)](
            *tensors, dout.contiguous(), kept, dx, ddelta, x if dz is None else dz, dBC[0], dBC[1], dparameters,
            *pitches, rows, batch, length, channel, state, kept.shape[1], *flags,
            SEGMENT, CHANNELS, triton.next_power_of_2(state), num_warps=1,
        )  # fmt: skip
        dB, dC = sum_partials(dBC).view(2, *B.shape).unbind()
        dA, dD, dbias = sum_partials(dparameters).view(replica, state + 2, channel).split([state, 1, 1], dim=1)
        return (
            dx, ddelta, dA.transpose(1, 2).to(ctx.dtype), dB.to(B.dtype), dC.to(C.dtype), dD[:, 0].to(D.dtype),
            dz, None, None if delta_bias is None else dbias[:, 0].to(delta_bias.dtype),
        )  # fmt: skip


def _arguments(
    x: Tensor, delta: Tensor, z: Tensor | None, rate: Tensor, B: Tensor, C: Tensor,
    D: Tensor, delta_bias: Tensor | None, lengths: Tensor | None,
) -> tuple[tuple[Tensor, ...], tuple[int, ...], tuple[bool, ...]]:  # fmt: skip
    """Tensors, pitches and flags as both kernels take them; ``x`` stands in for a tensor that is not there."""
    sequences = [pitched(x if part is None else part) for part in (x, delta, z, B, C)]
    x, delta, gate, B, C = (tensor for tensor, _ in sequences)
    others = [x if part is None else part.contiguous() for part in (D, delta_bias, lengths)]
    flags = (z is not None, delta_bias is not None, lengths is not None)
    return (x, delta, gate, rate, B, C, *others), tuple(pitch for _, pitch in sequences), flags


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
    """Shapes as in ``model.scan.selective_scan``; computes in float32."""
    if x.numel() == 0:
        return torch.zeros_like(x)
    result: Tensor = _SelectiveScan.apply(x, delta, A, B, C, D, z, lengths, delta_bias)
    return result
