"""The selective scan on CUDA for short sequences, in Triton.

A program has one warp. It takes a block of channels of one row (one sequence), and goes through time with the state in
registers. The forward pass saves the state before every segment of a few steps. The backward pass takes the segments
from last to first: it runs a segment again from the saved state, with all states in registers, and then computes the
gradients from the last step to the first.

The gradients of A, D and the bias are sums over rows, those of B and C are sums over channels. No addition is atomic:
each program writes a partial sum, and the partial sums are added in a fixed order.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from mdaf.model.kernels.rows import pitched
from mdaf.model.kernels.triton_math import read, sigmoid, softplus, softplus_and_slope, store, sum_partials, write
from mdaf.model.scan.triton_tiles import parameters_of, rows_of, steps_of, store_shares, tile_of

#: Steps between two saved states. ``_segment`` picks the number that fills the length with the fewest unused steps.
#: Longer segments need less memory, but more registers: a few do not fit at four steps, and many at five.
SEGMENTS = (3, 4)
#: Channels of a program. Each thread has four neighbouring channels; four threads share their states.
CHANNELS = 32
#: The most rows of a program of the backward pass. It sums their gradients of A, D and the bias in registers. A program
#: takes several rows only if at least ``PROGRAMS`` programs remain for a replica.
ROWS = 4
PROGRAMS = 4096

#: The most registers of a thread in the forward pass, by type. Fewer registers let a processor hold more programs,
#: which helps bfloat16 and slows float32 down.
REGISTERS = {torch.bfloat16: 80}

_LN_2 = tl.constexpr(0.6931471805599453)


@triton.jit
def _run_segment(
    h, x, delta, z, B, C, out, rate, skip, shift, c, n, left,
    x_pitch: tl.constexpr, delta_pitch: tl.constexpr, z_pitch: tl.constexpr, B_pitch: tl.constexpr,
    C_pitch: tl.constexpr, channels: tl.constexpr, states: tl.constexpr,
    GATED: tl.constexpr, SEGMENT: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    """Writes the outputs of a segment's ``left`` steps and returns the state after them.

    Pointers point to the segment's first step.
    """
    xs = ()
    dts = ()
    zs = ()
    bs = ()
    cs = ()
    for i in tl.static_range(SEGMENT):
        valid = c < tl.where(i < left, channels, 0)
        valid_n = n < tl.where(i < left, states, 0)
        xs = xs + (read(x + i * x_pitch, valid, WHOLE),)
        dts = dts + (softplus(read(delta + i * delta_pitch, valid, WHOLE) + shift),)
        bs = bs + (read(B + i * B_pitch + n, valid_n, WHOLE),)
        cs = cs + (read(C + i * C_pitch + n, valid_n, WHOLE),)
        if GATED:
            zs = zs + (read(z + i * z_pitch, valid, WHOLE),)
    for i in tl.static_range(SEGMENT):
        h = tl.exp2(dts[i][:, None] * rate) * h + (dts[i] * xs[i])[:, None] * bs[i][None, :]
        y = tl.sum(h * cs[i][None, :], axis=1) + skip * xs[i]
        if GATED:
            y = y * zs[i] * sigmoid(zs[i])
        write(out + i * channels, y, c < tl.where(i < left, channels, 0), WHOLE)
    return h


@triton.jit(do_not_specialize=["batch", "length", "segments"])
def _scan_forward(
    x, delta, z, A, B, C, D, bias, lengths, out, kept, batch, length, segments,
    x_pitch: tl.constexpr, delta_pitch: tl.constexpr, z_pitch: tl.constexpr, B_pitch: tl.constexpr,
    C_pitch: tl.constexpr, channels: tl.constexpr, states: tl.constexpr,
    GATED: tl.constexpr, BIASED: tl.constexpr, RAGGED: tl.constexpr, KEEP: tl.constexpr,
    SEGMENT: tl.constexpr, CHANNELS: tl.constexpr, STATES: tl.constexpr,
):  # fmt: skip
    EVEN: tl.constexpr = channels % CHANNELS == 0 and states == STATES
    blocks: tl.constexpr = (channels + CHANNELS - 1) // CHANNELS
    row = (tl.program_id(0) // blocks).to(tl.int64)
    replica = row // batch
    c, n, cell, real_c, real = tile_of(tl.program_id(0) % blocks, channels, states, CHANNELS, STATES)
    steps, _ = steps_of(lengths, row, True, length, RAGGED)
    rate, skip, shift = parameters_of(
        A, D, bias, replica, c, cell, real_c, real, channels, states, BIASED, EVEN, CHANNELS
    )
    start = row * length
    x += start * x_pitch + c
    delta += start * delta_pitch + c
    z += start * z_pitch + c
    B += start * B_pitch
    C += start * C_pitch
    out += start * channels + c
    kept += row * segments * states * channels
    h = tl.zeros((CHANNELS, STATES), tl.float32)
    left = steps
    while left >= SEGMENT:
        h = _run_segment(
            h, x, delta, z, B, C, out, rate, skip, shift, c, n, SEGMENT,
            x_pitch, delta_pitch, z_pitch, B_pitch, C_pitch, channels, states, GATED, SEGMENT, EVEN,
        )  # fmt: skip
        left -= SEGMENT
        if KEEP:
            if left > 0:
                write(kept + cell, h, real, EVEN)
            kept += states * channels
        x += SEGMENT * x_pitch
        delta += SEGMENT * delta_pitch
        z += SEGMENT * z_pitch
        B += SEGMENT * B_pitch
        C += SEGMENT * C_pitch
        out += SEGMENT * channels
    if left > 0:
        _run_segment(
            h, x, delta, z, B, C, out, rate, skip, shift, c, n, left,
            x_pitch, delta_pitch, z_pitch, B_pitch, C_pitch, channels, states, GATED, SEGMENT, False,
        )  # fmt: skip
        out += left * channels
    for _ in range(steps, length):
        write(out, tl.zeros((CHANNELS,), tl.float32), real_c, EVEN)
        out += channels


@triton.jit
def _backward_step(x, dt, slope, z, dy, b, c_n, h_before, h, dh, decay, rate, skip, GATED: tl.constexpr):
    """The backward pass of one step.

    Returns dx, the gradient of delta before the bias, dz, dB, dC, the step's contribution to dA, dy inside the gate,
    and the gradient of the state before the step.
    """
    dz = dy
    if GATED:
        gate = sigmoid(z)
        y = tl.sum(h * c_n[None, :], axis=1) + skip * x
        dz = dy * y * gate * (1.0 + z * (1.0 - gate))
        dy = dy * z * gate
    g = dh + dy[:, None] * c_n[None, :]
    dC = tl.sum(dy[:, None] * h, axis=0)
    dB = tl.sum(g * (dt * x)[:, None], axis=0)
    du = tl.sum(g * b[None, :], axis=1)
    dh = g * decay
    dpower = dh * h_before
    ddelta = (tl.sum(dpower * rate, axis=1) * _LN_2 + du * x) * slope
    return du * dt + skip * dy, ddelta, dz, dB, dC, dpower * dt[:, None], dy, dh


@triton.jit
def _zero_padding(
    dx, ddelta, dz, dB, dC, steps, length, channels, states, c, n,
    GATED: tl.constexpr, CHANNELS: tl.constexpr, STATES: tl.constexpr,
):  # fmt: skip
    """Writes zeros to the gradients of a row's positions after its last valid one."""
    nothing = tl.zeros((CHANNELS,), tl.float32)
    for t in range(steps, length):
        store(dx + t * channels + c, nothing, c < channels)
        store(ddelta + t * channels + c, nothing, c < channels)
        if GATED:
            store(dz + t * channels + c, nothing, c < channels)
        tl.store(dB + t * states + n, tl.zeros((STATES,), tl.float32), mask=n < states)
        tl.store(dC + t * states + n, tl.zeros((STATES,), tl.float32), mask=n < states)


@triton.jit
def _backward_segment(
    h, dh, dA, dD, dbias, x, delta, z, B, C, dout, dx, ddelta, dz, dB, dC, rate, skip, shift, c, n, left,
    x_pitch: tl.constexpr, delta_pitch: tl.constexpr, z_pitch: tl.constexpr, B_pitch: tl.constexpr,
    C_pitch: tl.constexpr, channels: tl.constexpr, states: tl.constexpr,
    GATED: tl.constexpr, SEGMENT: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    """The backward pass of a segment's ``left`` steps, whose states are computed again from ``h``.

    Writes the gradients of the segment's steps. Returns dh before the segment, and dA, dD and dbias so far.
    """
    xs = ()
    dts = ()
    slopes = ()
    zs = ()
    dys = ()
    bs = ()
    cs = ()
    for i in tl.static_range(SEGMENT):
        valid = c < tl.where(i < left, channels, 0)
        valid_n = n < tl.where(i < left, states, 0)
        xs = xs + (read(x + i * x_pitch, valid, WHOLE),)
        dt, slope = softplus_and_slope(read(delta + i * delta_pitch, valid, WHOLE) + shift)
        dts = dts + (dt,)
        slopes = slopes + (slope,)
        bs = bs + (read(B + i * B_pitch + n, valid_n, WHOLE),)
        cs = cs + (read(C + i * C_pitch + n, valid_n, WHOLE),)
        dys = dys + (read(dout + i * channels, valid, WHOLE),)
        zs = zs + (read(z + i * z_pitch, valid, WHOLE) if GATED else shift,)
    hs = (h,)
    for i in tl.static_range(SEGMENT - 1):
        h = tl.exp2(dts[i][:, None] * rate) * h + (dts[i] * xs[i])[:, None] * bs[i][None, :]
        hs = hs + (h,)
    for i in tl.static_range(SEGMENT - 1, -1, -1):
        decay = tl.exp2(dts[i][:, None] * rate)
        if i == SEGMENT - 1:
            h = decay * hs[i] + (dts[i] * xs[i])[:, None] * bs[i][None, :]
        else:
            h = hs[i + 1]
        dx_t, ddelta_t, dz_t, dB_t, dC_t, dA_t, dy, dh = _backward_step(
            xs[i], dts[i], slopes[i], zs[i], dys[i], bs[i], cs[i], hs[i], h, dh, decay, rate, skip, GATED
        )
        dA += dA_t
        dD += dy * xs[i]
        dbias += ddelta_t
        valid = c < tl.where(i < left, channels, 0)
        valid_n = n < tl.where(i < left, states, 0)
        write(dx + i * channels, dx_t, valid, WHOLE)
        write(ddelta + i * channels, ddelta_t, valid, WHOLE)
        if GATED:
            write(dz + i * channels, dz_t, valid, WHOLE)
        write(dB + i * states + n, dB_t, valid_n, WHOLE)
        write(dC + i * states + n, dC_t, valid_n, WHOLE)
    return dh, dA, dD, dbias


@triton.jit(do_not_specialize=["rows", "batch", "length", "segments", "rows_each"])
def _scan_backward(
    x, delta, z, A, B, C, D, bias, lengths, dout, kept, dx, ddelta, dz, dB, dC, dparameters,
    rows, batch, length, segments, rows_each,
    x_pitch: tl.constexpr, delta_pitch: tl.constexpr, z_pitch: tl.constexpr, B_pitch: tl.constexpr,
    C_pitch: tl.constexpr, channels: tl.constexpr, states: tl.constexpr,
    GATED: tl.constexpr, BIASED: tl.constexpr, RAGGED: tl.constexpr,
    SEGMENT: tl.constexpr, CHANNELS: tl.constexpr, STATES: tl.constexpr,
):  # fmt: skip
    EVEN: tl.constexpr = channels % CHANNELS == 0 and states == STATES
    blocks: tl.constexpr = (channels + CHANNELS - 1) // CHANNELS
    block, replica, group, groups = rows_of(batch, blocks, rows_each)
    c, n, cell, real_c, real = tile_of(block, channels, states, CHANNELS, STATES)
    rate, skip, shift = parameters_of(
        A, D, bias, replica, c, cell, real_c, real, channels, states, BIASED, EVEN, CHANNELS
    )
    dA = tl.zeros((CHANNELS, STATES), tl.float32)
    dD = tl.zeros((CHANNELS,), tl.float32)
    dbias = tl.zeros((CHANNELS,), tl.float32)
    for member in range(rows_each):
        row = replica * batch + group * rows_each + member
        steps, clear = steps_of(lengths, row, group * rows_each + member < batch, length, RAGGED)
        whole = steps // SEGMENT
        rest = steps % SEGMENT
        first = row * length + whole * SEGMENT
        x_at = x + first * x_pitch + c
        delta_at = delta + first * delta_pitch + c
        z_at = z + first * z_pitch + c
        B_at = B + first * B_pitch
        C_at = C + first * C_pitch
        dout_at = dout + first * channels + c
        dx_at = dx + first * channels + c
        ddelta_at = ddelta + first * channels + c
        dz_at = dz + first * channels + c
        dB_at = dB + (block.to(tl.int64) * rows * length + first) * states
        dC_at = dC + (block.to(tl.int64) * rows * length + first) * states
        before = kept + (row * segments + whole - 1) * states * channels
        dh = tl.zeros((CHANNELS, STATES), tl.float32)
        if rest > 0:
            h = tl.zeros((CHANNELS, STATES), tl.float32)
            if whole > 0:
                h = read(before + cell, real, EVEN)
            dh, dA, dD, dbias = _backward_segment(
                h, dh, dA, dD, dbias, x_at, delta_at, z_at, B_at, C_at, dout_at, dx_at, ddelta_at, dz_at, dB_at, dC_at,
                rate, skip, shift, c, n, rest,
                x_pitch, delta_pitch, z_pitch, B_pitch, C_pitch, channels, states, GATED, SEGMENT, False,
            )  # fmt: skip
        while whole > 0:
            whole -= 1
            x_at -= SEGMENT * x_pitch
            delta_at -= SEGMENT * delta_pitch
            z_at -= SEGMENT * z_pitch
            B_at -= SEGMENT * B_pitch
            C_at -= SEGMENT * C_pitch
            dout_at -= SEGMENT * channels
            dx_at -= SEGMENT * channels
            ddelta_at -= SEGMENT * channels
            dz_at -= SEGMENT * channels
            dB_at -= SEGMENT * states
            dC_at -= SEGMENT * states
            before -= states * channels
            h = tl.zeros((CHANNELS, STATES), tl.float32)
            if whole > 0:
                h = read(before + cell, real, EVEN)
            dh, dA, dD, dbias = _backward_segment(
                h, dh, dA, dD, dbias, x_at, delta_at, z_at, B_at, C_at, dout_at, dx_at, ddelta_at, dz_at, dB_at, dC_at,
                rate, skip, shift, c, n, SEGMENT,
                x_pitch, delta_pitch, z_pitch, B_pitch, C_pitch, channels, states, GATED, SEGMENT, EVEN,
            )  # fmt: skip
        first = row * length
        _zero_padding(
            dx + first * channels, ddelta + first * channels, dz + first * channels,
            dB + (block.to(tl.int64) * rows * length + first) * states,
            dC + (block.to(tl.int64) * rows * length + first) * states,
            steps, clear, channels, states, c, n, GATED, CHANNELS, STATES,
        )  # fmt: skip
    store_shares(dparameters, replica * groups + group, dA, dD, dbias, c, cell, real_c, real, channels, states)


class _SelectiveScan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor,
        z: Tensor | None, lengths: Tensor | None, delta_bias: Tensor | None,
    ) -> Tensor:  # fmt: skip
        replica, batch, length, channel = x.shape
        keep = any(ctx.needs_input_grad)
        rate = A.float().contiguous()
        segment = _segment(length)
        segments = max(1, triton.cdiv(length, segment) - 1) if keep else 1
        kept = torch.empty((replica * batch, segments, *rate.shape[1:]) if keep else 1, device=x.device)
        out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        tensors, shape, flags = _arguments(x, delta, z, rate, B, C, D, delta_bias, lengths)
        _scan_forward[(replica * batch * triton.cdiv(channel, CHANNELS),)](
            *tensors, out, kept, batch, length, segments, *shape, *flags, keep,
            segment, CHANNELS, triton.next_power_of_2(rate.shape[2]), num_warps=1, maxnreg=REGISTERS.get(x.dtype),
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
        state = rate.shape[2]
        rows, blocks = replica * batch, triton.cdiv(channel, CHANNELS)
        rows_each = rows_per_program(batch, blocks)
        groups = triton.cdiv(batch, rows_each)
        dx, ddelta = (torch.empty(x.shape, dtype=part.dtype, device=x.device) for part in (x, delta))
        dz = None if z is None else torch.empty(x.shape, dtype=z.dtype, device=x.device)
        dBC = torch.empty((2, blocks, rows * length * state), device=x.device)
        dparameters = torch.empty((replica, groups, channel * (state + 2)), device=x.device)
        tensors, shape, flags = _arguments(x, delta, z, rate, B, C, D, delta_bias, lengths)
        _scan_backward[(replica * groups * blocks,)](
            *tensors, dout.contiguous(), kept, dx, ddelta, x if dz is None else dz, dBC[0], dBC[1], dparameters,
            rows, batch, length, kept.shape[1], rows_each, *shape, *flags,
            _segment(length), CHANNELS, triton.next_power_of_2(state), num_warps=1,
        )  # fmt: skip
        dB, dC = sum_partials(dBC, B.dtype).view(2, *B.shape).unbind()
        dA, dD, dbias = sum_partials(dparameters).split([channel * state, channel, channel], dim=1)
        return (
            dx, ddelta, dA.view(rate.shape).to(ctx.dtype), dB, dC.to(C.dtype), dD.to(D.dtype),
            dz, None, None if delta_bias is None else dbias.to(delta_bias.dtype),
        )  # fmt: skip


def rows_per_program(batch: int, blocks: int) -> int:
    """Rows of a program of the backward pass, if a row has ``blocks`` blocks of channels.

    It does not depend on the number of replicas, so neither does the order of additions.
    """
    return min(ROWS, max(1, batch * blocks // PROGRAMS))


def _segment(length: int) -> int:
    """Steps between two saved states."""
    return min(SEGMENTS, key=lambda steps: -length % steps)


def _arguments(
    x: Tensor, delta: Tensor, z: Tensor | None, rate: Tensor, B: Tensor, C: Tensor,
    D: Tensor, delta_bias: Tensor | None, lengths: Tensor | None,
) -> tuple[tuple[Tensor, ...], tuple[int, ...], tuple[bool, ...]]:  # fmt: skip
    """Both kernels' tensors; the pitches, channels and states; and the flags. ``x`` stands in for a missing tensor."""
    sequences = [pitched(x if part is None else part) for part in (x, delta, z, B, C)]
    x, delta, gate, B, C = (tensor for tensor, _ in sequences)
    others = [x if part is None else part.contiguous() for part in (D, delta_bias, lengths)]
    flags = (z is not None, delta_bias is not None, lengths is not None)
    return (x, delta, gate, rate, B, C, *others), (*(pitch for _, pitch in sequences), *rate.shape[1:]), flags


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
    """Arguments and result as in ``mdaf.model.scan.selective_scan``; computes in float32."""
    if x.numel() == 0:
        return torch.zeros_like(x)
    result: Tensor = _SelectiveScan.apply(x, delta, A, B, C, D, z, lengths, delta_bias)
    return result
