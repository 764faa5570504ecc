"""The selective scan's output at the last valid position only, on CPU cores.

The backward pass needs no intermediate state. Let S_t be the sum of dt after step t. Then
y = sum_t C . exp(A S_t) dt_t B_t x_t + D x, so the gradients of each step follow from S_t. The gradient of dt is a sum
over the earlier steps. Rows and channels are divided among threads as in ``mdaf.model.scan.cpu``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mdaf.model.kernels.elementary import LN_2, exp2, sigmoid
from mdaf.model.kernels.numba_jit import inlined, kernel, loop
from mdaf.model.kernels.rows import flat_array
from mdaf.model.kernels.threads import chunk_count, for_each_chunk, in_order
from mdaf.model.scan.cpu import BLOCK, block_of, from_blocks, into_blocks, load_steps, parameters, prefetch

_ZERO = np.float32(0.0)


@loop
def _run(dt, u, A, B, h):
    """The state (state, channel) after the last step."""
    steps, width = dt.shape
    for n in range(A.shape[0]):  # the state before the first step is 0
        b = B[0, n]
        for c in range(width):
            h[n, c] = u[0, c] * b
    for t in range(1, steps):
        for n in range(A.shape[0]):
            b = B[t, n]
            for c in range(width):
                h[n, c] = exp2(dt[t, c] * A[n, c]) * h[n, c] + u[t, c] * b


@loop
def _output(x, x_at, D, C, h, out, at):
    """out = C . h + D x of the last step, which is at ``x_at``."""
    for c in range(h.shape[1]):
        out[np.uint64(at + c)] = D[c] * x[np.uint64(x_at + c)]
    for n in range(h.shape[0]):
        c_n = C[n]
        for c in range(h.shape[1]):
            out[np.uint64(at + c)] += c_n * h[n, c]


@loop
def _sum_after(dt, after):
    """after_t = the sum of dt over the steps after t."""
    steps, width = dt.shape
    after[steps - 1] = _ZERO
    for t in range(steps - 2, -1, -1):
        for c in range(width):
            after[t, c] = after[t + 1, c] + dt[t + 1, c]


@loop
def _step_gradients(after, u, A, B, C, dy, du, dafter, dA, dB, dC):
    """The gradients of all steps, given ``dy`` (channel). Adds to dA, dB, dC; writes du and dafter (step, channel).

    ``A`` is divided by log 2, because the decays are powers of 2. So ``dafter`` is divided by log 2 too.
    """
    steps, width = u.shape
    du[:] = _ZERO
    dafter[:] = _ZERO
    for t in range(steps):
        for n in range(A.shape[0]):
            share = B[t, n] * C[n]
            total = _ZERO
            for c in range(width):
                dh = exp2(after[t, c] * A[n, c]) * dy[c]
                du[t, c] += dh * share
                dh_u = dh * u[t, c]
                total += dh_u
                g = dh_u * share
                dafter[t, c] += g * A[n, c]
                dA[n, c] += g * after[t, c]
            dB[t, n] += C[n] * total
            dC[n] += B[t, n] * total


@loop
def _finish_inputs(
    x, x_at, x_pitch, delta, delta_at, delta_pitch, bias, dt, du, dafter, dt_gradient, dx, ddelta, at, pitch
):
    """Writes dx and ddelta of a block's valid steps, without the skip connection.

    ``dt_gradient`` (channel) is scratch memory for the sum of ``dafter`` over the earlier steps.
    """
    steps, width = dt.shape
    dt_gradient[:] = _ZERO
    for t in range(steps):
        for c in range(width):
            dx[np.uint64(at + t * pitch + c)] = du[t, c] * dt[t, c]
            slope = sigmoid(np.float32(delta[np.uint64(delta_at + t * delta_pitch + c)] + bias[c]))
            ddt = dt_gradient[c] * LN_2 + du[t, c] * x[np.uint64(x_at + t * x_pitch + c)]
            ddelta[np.uint64(at + t * pitch + c)] = ddt * slope
            dt_gradient[c] += dafter[t, c]


@loop
def _add_skip_and_bias(x, x_at, D, dy, dx, last_at, ddelta, at, pitch, steps, dD, dbias):
    """Adds the gradient through the skip connection to dx, and a block's contribution to dD and dbias."""
    for c in range(dy.size):
        dx[np.uint64(last_at + c)] += D[c] * dy[c]
        dD[c] += dy[c] * x[np.uint64(x_at + c)]
    for t in range(steps):
        for c in range(dy.size):
            dbias[c] += ddelta[np.uint64(at + t * pitch + c)]


@kernel
def _forward(first, last, chunks, x, x_pitch, delta, delta_pitch, A, B, C, D, bias, lengths, out):
    """Kernel of ``for_each_chunk``: A (replica, state, channel), B (rows, length, state), C (rows, state)."""
    replicas, states, channels = A.shape
    batch = lengths.size // replicas
    length = B.shape[1]
    sink = np.zeros(1, np.float32)
    h_buffer = np.empty(states * BLOCK, np.float32)
    buffer = np.empty((2, length * BLOCK), np.float32)
    decay_rates = np.empty(states * channels, np.float32)
    for task in range(first, last):
        replica = task // chunks
        into_blocks(A[replica], decay_rates)
        for row in range(replica * batch + task % chunks, (replica + 1) * batch, chunks):
            steps = min(max(lengths[row], 0), length)
            if steps == 0:
                out[row * channels : (row + 1) * channels] = _ZERO
                continue
            x_row, delta_row = row * length * x_pitch, row * length * delta_pitch
            prefetch(x, x_row, x_pitch, steps, channels, sink)
            prefetch(delta, delta_row, delta_pitch, steps, channels, sink)
            for low in range(0, channels, BLOCK):
                width = min(BLOCK, channels - low)
                dt = buffer[0, : steps * width].reshape((steps, width))
                u = buffer[1, : steps * width].reshape((steps, width))
                h = h_buffer[: states * width].reshape((states, width))
                load_steps(x, x_row + low, x_pitch, delta, delta_row + low, delta_pitch, bias[replica, low:], dt, u)
                _run(dt, u, block_of(decay_rates, low, states, width), B[row], h)
                last_x = x_row + (steps - 1) * x_pitch + low
                _output(x, last_x, D[replica, low:], C[row], h, out, row * channels + low)


@inlined
def _backward_block(
    x, x_at, x_pitch, delta, delta_at, delta_pitch, A, B, C, D, bias, dy, dx, ddelta, dA, dB, dC, dD, dbias,
    at, channels, steps, width, sequences, scratch,
):  # fmt: skip
    """The backward pass of ``width`` channels of a row, which start at ``at``. Adds to dA, dB, dC, dD and dbias.

    ``sequences`` (5, ...) and ``scratch`` (BLOCK) are scratch memory, which a thread uses for every block.
    """
    size = steps * width
    dt = sequences[0, :size].reshape((steps, width))
    u = sequences[1, :size].reshape((steps, width))
    after = sequences[2, :size].reshape((steps, width))
    du = sequences[3, :size].reshape((steps, width))
    dafter = sequences[4, :size].reshape((steps, width))
    load_steps(x, x_at, x_pitch, delta, delta_at, delta_pitch, bias, dt, u)
    _sum_after(dt, after)
    _step_gradients(after, u, A, B, C, dy, du, dafter, dA, dB, dC)
    _finish_inputs(
        x, x_at, x_pitch, delta, delta_at, delta_pitch, bias, dt, du, dafter, scratch[:width], dx, ddelta, at, channels
    )  # fmt: skip
    last_x, last_at = x_at + (steps - 1) * x_pitch, at + (steps - 1) * channels
    _add_skip_and_bias(x, last_x, D, dy, dx, last_at, ddelta, at, channels, steps, dD, dbias)


@kernel
def _backward(
    first, last, chunks, x, x_pitch, delta, delta_pitch, A, B, C, D, bias, lengths, dout,
    dx, ddelta, dA, dB, dC, dD, dbias,
):  # fmt: skip
    """Kernel of ``for_each_chunk``.

    dA (replica, chunk, state, channel), dD and dbias (replica, chunk, channel) hold each chunk's partial sums.
    """
    replicas, states, channels = A.shape
    batch = lengths.size // replicas
    length = B.shape[1]
    sink = np.zeros(1, np.float32)
    sequences = np.empty((5, length * BLOCK), np.float32)
    scratch = np.empty(BLOCK, np.float32)
    decay_rates = np.empty(states * channels, np.float32)
    dA_blocks = np.empty(states * channels, np.float32)
    for task in range(first, last):
        r = task // chunks
        chunk = task % chunks
        into_blocks(A[r], decay_rates)
        dA_blocks[:] = _ZERO
        dD[r, chunk] = _ZERO
        dbias[r, chunk] = _ZERO
        for row in range(r * batch + chunk, (r + 1) * batch, chunks):
            steps = min(max(lengths[row], 0), length)
            start = row * length
            dB[row] = _ZERO
            dC[row] = _ZERO
            prefetch(x, start * x_pitch, x_pitch, steps, channels, sink)
            prefetch(delta, start * delta_pitch, delta_pitch, steps, channels, sink)
            for low in range(0, channels if steps else 0, BLOCK):
                width = min(BLOCK, channels - low)
                _backward_block(
                    x, start * x_pitch + low, x_pitch, delta, start * delta_pitch + low, delta_pitch,
                    block_of(decay_rates, low, states, width), B[row], C[row], D[r, low:], bias[r, low:],
                    dout[row, low : low + width], dx, ddelta, block_of(dA_blocks, low, states, width), dB[row], dC[row],
                    dD[r, chunk, low:], dbias[r, chunk, low:], start * channels + low, channels, steps, width,
                    sequences, scratch,
                )  # fmt: skip
            rest = slice((start + steps) * channels, (start + length) * channels)
            dx[rest] = _ZERO
            ddelta[rest] = _ZERO
        from_blocks(dA_blocks, dA[r, chunk])


class _LastOutput(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor,
        lengths: Tensor | None, delta_bias: Tensor | None,
    ) -> Tensor:  # fmt: skip
        ctx.save_for_backward(x, delta, A, B, C, D, lengths, delta_bias)
        replica, batch, _, channel = x.shape
        out = torch.empty(replica, batch, channel)
        chunks, inputs = _arrays(x, delta, A, B, C, D, lengths, delta_bias)
        for_each_chunk(_forward, chunks * replica, chunks, *inputs, out.view(-1).numpy())
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
        x, delta, A, B, C, D, lengths, delta_bias = ctx.saved_tensors
        chunks, inputs = _arrays(x, delta, A, B, C, D, lengths, delta_bias)
        replica, batch, length, channel = x.shape
        state, rows = A.shape[2], replica * batch
        dx, ddelta, dB, dC = torch.empty(x.shape), torch.empty(x.shape), torch.empty(B.shape), torch.empty(C.shape)
        dA = np.empty((replica, chunks, state, channel), np.float32)
        dD, dbias = np.empty((2, replica, chunks, channel), np.float32)
        for_each_chunk(
            _backward, chunks * replica, chunks, *inputs, dout.contiguous().view(rows, channel).numpy(),
            dx.view(-1).numpy(), ddelta.view(-1).numpy(), dA, dB.view(rows, length, state).numpy(),
            dC.view(rows, state).numpy(), dD, dbias,
        )  # fmt: skip
        return (
            dx, ddelta, in_order(dA).transpose(1, 2).contiguous(), dB, dC, in_order(dD), None,
            None if delta_bias is None else in_order(dbias),
        )  # fmt: skip


def _arrays(
    x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, lengths: Tensor | None,
    delta_bias: Tensor | None,
) -> tuple[int, tuple[Any, ...]]:  # fmt: skip
    """The number of chunks of each replica, and the kernels' inputs: views, except for A."""
    rows, length = x.shape[0] * x.shape[1], x.shape[2]
    B, C = B.detach().contiguous().view(rows, length, -1), C.detach().contiguous().view(rows, -1)
    rate, *others = parameters(x, A, D, lengths, delta_bias)
    return chunk_count(x.shape[1]), (*flat_array(x), *flat_array(delta), rate, B.numpy(), C.numpy(), *others)


def last_output(
    x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, lengths: Tensor | None,
    delta_bias: Tensor | None,
) -> Tensor:  # fmt: skip
    """Arguments and result as in ``mdaf.model.scan.last_output``; computes in float32."""
    if x.numel() == 0:
        return x.new_zeros(x.shape[0], x.shape[1], x.shape[3])
    floats = (part.float() for part in (x, delta, A, B, C, D))
    bias = None if delta_bias is None else delta_bias.float()
    result: Tensor = _LastOutput.apply(*floats, lengths, bias)
    return result.to(x.dtype)
