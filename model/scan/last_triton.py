"""The selective scan's output at the last valid position only, on CUDA, in Triton.

The forward pass is the recurrence without the earlier outputs. The backward pass needs no intermediate state. Let S_t
be the sum of dt after step t. Then y = sum_t C . exp(A S_t) dt_t B_t x_t + D x, so the gradients of each step follow
from S_t. Going through the steps in order, S_t falls from the sum of all dt to 0. Rows and channels are divided among
programs as in ``mdaf.model.scan.triton``.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from mdaf.model.kernels.rows import pitched
from mdaf.model.kernels.triton_math import load, read, softplus, softplus_and_slope, store, sum_partials, write
from mdaf.model.scan.triton import CHANNELS, rows_per_program
from mdaf.model.scan.triton_tiles import parameters_of, rows_of, steps_of, store_shares, tile_of

#: Steps whose inputs are loaded at once.
SEGMENT = 4

#: The most registers of a thread in the forward pass, by type; see ``mdaf.model.scan.triton``.
REGISTERS = {torch.bfloat16: 64}

_LN_2 = tl.constexpr(0.6931471805599453)


@triton.jit
def _run_segment(
    h, total, x, delta, B, rate, shift, c, n, left,
    x_pitch: tl.constexpr, delta_pitch: tl.constexpr, B_pitch: tl.constexpr,
    channels: tl.constexpr, states: tl.constexpr, SEGMENT: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    """The state after the ``left`` steps of a segment, and the sum of dt.

    Pointers point to the segment's first step.
    """
    xs = ()
    dts = ()
    bs = ()
    for i in tl.static_range(SEGMENT):
        valid = c < tl.where(i < left, channels, 0)
        xs = xs + (read(x + i * x_pitch, valid, WHOLE),)
        dts = dts + (softplus(read(delta + i * delta_pitch, valid, WHOLE) + shift),)
        bs = bs + (read(B + i * B_pitch + n, n < tl.where(i < left, states, 0), WHOLE),)
    for i in tl.static_range(SEGMENT):
        dt = dts[i] if WHOLE else tl.where(i < left, dts[i], 0.0)
        h = tl.exp2(dt[:, None] * rate) * h + (dt * xs[i])[:, None] * bs[i][None, :]
        total += dt
    return h, total


@triton.jit(do_not_specialize=["batch", "length"])
def _last_scan_forward(
    x, delta, A, B, C, D, bias, lengths, out, last, totals, batch, length,
    x_pitch: tl.constexpr, delta_pitch: tl.constexpr, B_pitch: tl.constexpr,
    channels: tl.constexpr, states: tl.constexpr, BIASED: tl.constexpr, RAGGED: tl.constexpr, KEEP: tl.constexpr,
    SEGMENT: tl.constexpr, CHANNELS: tl.constexpr, STATES: tl.constexpr,
):  # fmt: skip
    EVEN: tl.constexpr = channels % CHANNELS == 0 and states == STATES
    blocks: tl.constexpr = (channels + CHANNELS - 1) // CHANNELS
    row = (tl.program_id(0) // blocks).to(tl.int64)
    replica = row // batch
    c, n, cell, real_c, real = tile_of(tl.program_id(0) % blocks, channels, states, CHANNELS, STATES)
    steps, _ = steps_of(lengths, row, True, length, RAGGED)
    rate, _, shift = parameters_of(A, D, bias, replica, c, cell, real_c, real, channels, states, BIASED, EVEN, CHANNELS)
    start = row * length
    x += start * x_pitch + c
    delta += start * delta_pitch + c
    B += start * B_pitch
    h = tl.zeros((CHANNELS, STATES), tl.float32)
    total = tl.zeros((CHANNELS,), tl.float32)
    left = steps
    while left >= SEGMENT:
        h, total = _run_segment(
            h, total, x, delta, B, rate, shift, c, n, SEGMENT,
            x_pitch, delta_pitch, B_pitch, channels, states, SEGMENT, EVEN,
        )  # fmt: skip
        left -= SEGMENT
        x += SEGMENT * x_pitch
        delta += SEGMENT * delta_pitch
        B += SEGMENT * B_pitch
    if left > 0:
        h, total = _run_segment(
            h, total, x, delta, B, rate, shift, c, n, left,
            x_pitch, delta_pitch, B_pitch, channels, states, SEGMENT, False,
        )  # fmt: skip
    x_last = load(x + (left - 1) * x_pitch, c < tl.where(steps > 0, channels, 0))
    y = tl.sum(h * read(C + row * states + n, n < states, EVEN)[None, :], axis=1)
    # D is read only here, so that it occupies no register during the loop.
    y += read(D + replica * channels + c, real_c, EVEN) * x_last
    write(out + row * channels + c, y, real_c, EVEN)
    if KEEP:
        write(last + row * states * channels + cell, h, real, EVEN)
        write(totals + row * channels + c, total, real_c, EVEN)


@triton.jit
def _segment_gradients(
    dA, dbias, after, dt_gradient, dh_last, dx_skip, x, delta, B, dx, ddelta, dB, rate, shift, c, n, left,
    x_pitch: tl.constexpr, delta_pitch: tl.constexpr, B_pitch: tl.constexpr,
    channels: tl.constexpr, states: tl.constexpr, SEGMENT: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    """Writes the gradients of a segment's steps, of which ``left`` are valid.

    ``after``        the sum of dt from the segment's first step on.
    ``dt_gradient``  what dt receives from the steps before the segment: the gradients of their sums S.
    ``dh_last``      the gradient of the last state, which is the output's gradient times C.
    ``dx_skip``      what the last step's x receives through the skip connection.

    Returns dA, dbias, after and dt_gradient, as they are after the segment.
    """
    xs = ()
    dts = ()
    slopes = ()
    bs = ()
    for i in tl.static_range(SEGMENT):
        valid = c < tl.where(i < left, channels, 0)
        xs = xs + (read(x + i * x_pitch, valid, WHOLE),)
        dt, slope = softplus_and_slope(read(delta + i * delta_pitch, valid, WHOLE) + shift)
        dts = dts + (dt,)
        slopes = slopes + (slope,)
        bs = bs + (read(B + i * B_pitch + n, n < tl.where(i < left, states, 0), WHOLE),)
    for i in tl.static_range(SEGMENT):
        valid = c < tl.where(i < left, channels, 0)
        dt = dts[i] if WHOLE else tl.where(i < left, dts[i], 0.0)
        u = dt * xs[i]
        after -= dt
        g = dh_last * tl.exp2(after[:, None] * rate)
        dB_t = tl.sum(g * u[:, None], axis=0)
        share = g * bs[i][None, :]
        du = tl.sum(share, axis=1)
        ddelta_t = (dt_gradient + du * xs[i]) * slopes[i]
        dt_gradient += tl.sum(share * rate, axis=1) * (u * _LN_2)
        dA += share * (u * after)[:, None]
        dbias += ddelta_t if WHOLE else tl.where(valid, ddelta_t, 0.0)
        write(dx + i * channels, du * dt + tl.where(i == left - 1, dx_skip, 0.0), valid, WHOLE)
        write(ddelta + i * channels, ddelta_t, valid, WHOLE)
        write(dB + i * states + n, dB_t, n < tl.where(i < left, states, 0), WHOLE)
    return dA, dbias, after, dt_gradient


@triton.jit(do_not_specialize=["rows", "batch", "length", "rows_each"])
def _last_scan_backward(
    x, delta, A, B, C, D, bias, lengths, dout, last, totals, dx, ddelta, dB, dC, dparameters,
    rows, batch, length, rows_each,
    x_pitch: tl.constexpr, delta_pitch: tl.constexpr, B_pitch: tl.constexpr,
    channels: tl.constexpr, states: tl.constexpr, BIASED: tl.constexpr, RAGGED: tl.constexpr,
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
        present = group * rows_each + member < batch
        steps, clear = steps_of(lengths, row, present, length, RAGGED)
        some_c = c < tl.where(steps > 0, channels, 0)
        some_n = n < tl.where(present, states, 0)
        dy = load(dout + row * channels + c, some_c)
        dh_last = dy[:, None] * load(C + row * states + n, some_n)[None, :]
        h = load(last + row * states * channels + cell, some_c[:, None] & some_n[None, :])
        store(dC + (block.to(tl.int64) * rows + row) * states + n, tl.sum(dy[:, None] * h, axis=0), some_n)
        after = load(totals + row * channels + c, some_c)
        dt_gradient = tl.zeros((CHANNELS,), tl.float32)
        start = row * length
        x_at = x + start * x_pitch + c
        delta_at = delta + start * delta_pitch + c
        B_at = B + start * B_pitch
        dx_at = dx + start * channels + c
        ddelta_at = ddelta + start * channels + c
        dB_at = dB + (block.to(tl.int64) * rows * length + start) * states
        left = steps
        while left >= SEGMENT:
            dA, dbias, after, dt_gradient = _segment_gradients(
                dA, dbias, after, dt_gradient, dh_last, skip * dy, x_at, delta_at, B_at, dx_at, ddelta_at, dB_at,
                rate, shift, c, n, left, x_pitch, delta_pitch, B_pitch, channels, states, SEGMENT, EVEN,
            )  # fmt: skip
            left -= SEGMENT
            x_at += SEGMENT * x_pitch
            delta_at += SEGMENT * delta_pitch
            B_at += SEGMENT * B_pitch
            dx_at += SEGMENT * channels
            ddelta_at += SEGMENT * channels
            dB_at += SEGMENT * states
        if left > 0:
            dA, dbias, after, dt_gradient = _segment_gradients(
                dA, dbias, after, dt_gradient, dh_last, skip * dy, x_at, delta_at, B_at, dx_at, ddelta_at, dB_at,
                rate, shift, c, n, left, x_pitch, delta_pitch, B_pitch, channels, states, SEGMENT, False,
            )  # fmt: skip
        dD += dy * load(x_at + (left - 1) * x_pitch, some_c)
        for t in range(left, clear - (steps - left)):
            store(dx_at + t * channels, tl.zeros((CHANNELS,), tl.float32), real_c)
            store(ddelta_at + t * channels, tl.zeros((CHANNELS,), tl.float32), real_c)
            store(dB_at + t * states + n, tl.zeros((STATES,), tl.float32), n < states)
    store_shares(dparameters, replica * groups + group, dA, dD, dbias, c, cell, real_c, real, channels, states)


class _LastOutput(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor,
        lengths: Tensor | None, delta_bias: Tensor | None,
    ) -> Tensor:  # fmt: skip
        replica, batch, length, channel = x.shape
        keep = any(ctx.needs_input_grad)
        rate = A.float().contiguous()
        rows, state = replica * batch, rate.shape[2]
        out = torch.empty((replica, batch, channel), dtype=x.dtype, device=x.device)
        last = torch.empty((rows, channel, state) if keep else 1, device=x.device)
        totals = torch.empty((rows, channel) if keep else 1, device=x.device)
        tensors, shape, flags = _arguments(x, delta, rate, B, C, D, delta_bias, lengths)
        _last_scan_forward[(rows * triton.cdiv(channel, CHANNELS),)](
            *tensors, out, last, totals, batch, length, *shape, *flags, keep,
            SEGMENT, CHANNELS, triton.next_power_of_2(state), num_warps=1, maxnreg=REGISTERS.get(x.dtype),
        )  # fmt: skip
        if keep:
            ctx.save_for_backward(x, delta, rate, B, C, D, delta_bias, lengths, last, totals)
            ctx.dtype = A.dtype
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
        x, delta, rate, B, C, D, delta_bias, lengths, last, totals = ctx.saved_tensors
        replica, batch, length, channel = x.shape
        rows, state, blocks = replica * batch, rate.shape[2], triton.cdiv(channel, CHANNELS)
        rows_each = rows_per_program(batch, blocks)
        groups = triton.cdiv(batch, rows_each)
        dx, ddelta = (torch.empty(x.shape, dtype=part.dtype, device=x.device) for part in (x, delta))
        dB, dC = (torch.empty((1, blocks, part.numel()), device=x.device) for part in (B, C))
        dparameters = torch.empty((replica, groups, channel * (state + 2)), device=x.device)
        tensors, shape, flags = _arguments(x, delta, rate, B, C, D, delta_bias, lengths)
        _last_scan_backward[(replica * groups * blocks,)](
            *tensors, dout.contiguous(), last, totals, dx, ddelta, dB, dC, dparameters, rows, batch, length,
            rows_each, *shape, *flags, SEGMENT, CHANNELS, triton.next_power_of_2(state), num_warps=1,
        )  # fmt: skip
        dA, dD, dbias = sum_partials(dparameters).split([channel * state, channel, channel], dim=1)
        return (
            dx, ddelta, dA.view(rate.shape).to(ctx.dtype), sum_partials(dB, B.dtype).view(B.shape),
            sum_partials(dC, C.dtype).view(C.shape), dD.to(D.dtype), None,
            None if delta_bias is None else dbias.to(delta_bias.dtype),
        )  # fmt: skip


def _arguments(
    x: Tensor, delta: Tensor, rate: Tensor, B: Tensor, C: Tensor, D: Tensor, delta_bias: Tensor | None,
    lengths: Tensor | None,
) -> tuple[tuple[Tensor, ...], tuple[int, ...], tuple[bool, ...]]:  # fmt: skip
    """The kernels' tensors; the pitches, channels and states; and the flags. ``x`` stands in for a missing tensor."""
    (x, x_pitch), (delta, delta_pitch), (B, B_pitch) = pitched(x), pitched(delta), pitched(B)
    others = [x if part is None else part.contiguous() for part in (C, D, delta_bias, lengths)]
    shape = (x_pitch, delta_pitch, B_pitch, *rate.shape[1:])
    return (x, delta, rate, B, *others), shape, (delta_bias is not None, lengths is not None)


def last_output(
    x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, lengths: Tensor | None,
    delta_bias: Tensor | None,
) -> Tensor:  # fmt: skip
    """Arguments and result as in ``mdaf.model.scan.last_output``; computes in float32."""
    if x.numel() == 0:
        return x.new_zeros(x.shape[0], x.shape[1], x.shape[3])
    result: Tensor = _LastOutput.apply(x, delta, A, B, C, D, lengths, delta_bias)
    return result
