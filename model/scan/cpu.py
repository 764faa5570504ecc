"""The selective scan on CPU cores: one fused forward pass, and a backward pass that computes the states again.

A thread computes a block of channels of one row (one sequence) at a time. Inner loops run over channels, which are
contiguous, so LLVM vectorizes them. All arrays of a block fit in the cache of one core.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mdaf.model.kernels.elementary import LN_2, LOG2_E, exp2, sigmoid, softplus
from mdaf.model.kernels.numba_jit import inlined, kernel, loop
from mdaf.model.kernels.rows import flat_array
from mdaf.model.kernels.threads import chunk_count, for_each_chunk, in_order

#: Channels in a block. A wider block has fewer and longer inner loops. A narrower one needs less cache for the decays
#: and states of all steps, which take 2 x 420 kB at 50 steps and 16 states. 32 channels are a fifth slower.
BLOCK = 128

_ZERO = np.float32(0.0)
_ONE = np.float32(1.0)


@loop
def load_steps(x, x_at, x_pitch, delta, delta_at, delta_pitch, bias, dt, u):
    """dt = softplus(delta + bias) and u = dt * x for the valid steps of a block, (step, channel)."""
    steps, width = dt.shape
    for t in range(steps):
        for c in range(width):
            step = softplus(np.float32(delta[np.uint64(delta_at + t * delta_pitch + c)] + bias[c]))
            dt[t, c] = step
            u[t, c] = step * x[np.uint64(x_at + t * x_pitch + c)]


@loop
def _run(dt, u, A, B, C, h, y):
    """The recurrence, keeping only the current state ``h`` (state, channel); fills ``y`` (step, channel) = C . h."""
    steps, width = dt.shape
    y[:] = _ZERO
    for n in range(A.shape[0] if steps else 0):  # the state before the first step is 0
        b = B[0, n]
        c_n = C[0, n]
        for c in range(width):
            state = u[0, c] * b
            h[n, c] = state
            y[0, c] += state * c_n
    for t in range(1, steps):
        for n in range(A.shape[0]):
            b = B[t, n]
            c_n = C[t, n]
            for c in range(width):
                state = exp2(dt[t, c] * A[n, c]) * h[n, c] + u[t, c] * b
                h[n, c] = state
                y[t, c] += state * c_n


@loop
def _run_keeping_states(dt, u, A, B, C, decay, h, y):
    """The recurrence, keeping every state, and the decay of every step but the first: (step, state, channel)."""
    steps, width = dt.shape
    y[:] = _ZERO
    for n in range(A.shape[0] if steps else 0):
        b = B[0, n]
        c_n = C[0, n]
        for c in range(width):
            state = u[0, c] * b
            h[0, n, c] = state
            y[0, c] += state * c_n
    for t in range(1, steps):
        for n in range(A.shape[0]):
            b = B[t, n]
            c_n = C[t, n]
            for c in range(width):
                a = exp2(dt[t, c] * A[n, c])
                decay[t, n, c] = a
                state = a * h[t - 1, n, c] + u[t, c] * b
                h[t, n, c] = state
                y[t, c] += state * c_n


@loop
def _backward_recurrence(dt, u, A, B, C, decay, h, dy, dh, ddt, du, dA, dB, dC):
    """The gradients of the recurrence, last step first, given ``dy``. Adds to dA, dB, dC; writes ddt and du.

    ``dh`` is the gradient of the current state. ``A`` is divided by log 2, because the decays are powers of 2. So
    ``ddt`` is divided by log 2 too: the caller multiplies it.
    """
    steps, width = dt.shape
    dh[:] = _ZERO
    ddt[:] = _ZERO
    du[:] = _ZERO
    for t in range(steps - 1, 0, -1):
        for n in range(A.shape[0]):
            b = B[t, n]
            c_n = C[t, n]
            db = _ZERO
            dc = _ZERO
            for c in range(width):
                g = dh[n, c] + dy[t, c] * c_n
                dc += dy[t, c] * h[t, n, c]
                db += g * u[t, c]
                du[t, c] += g * b
                before = g * decay[t, n, c]
                dh[n, c] = before
                dexponent = before * h[t - 1, n, c]
                ddt[t, c] += dexponent * A[n, c]
                dA[n, c] += dexponent * dt[t, c]
            dB[t, n] += db
            dC[t, n] += dc
    for n in range(A.shape[0] if steps else 0):
        b = B[0, n]
        c_n = C[0, n]
        db = _ZERO
        dc = _ZERO
        for c in range(width):
            g = dh[n, c] + dy[0, c] * c_n
            dc += dy[0, c] * h[0, n, c]
            db += g * u[0, c]
            du[0, c] += g * b
        dB[0, n] += db
        dC[0, n] += dc


@loop
def _skip_and_gate(x, x_at, x_pitch, z, z_at, z_pitch, gated, D, y, out, out_at, channels):
    """out = (y + D x) SiLU(z) for the valid steps of a block."""
    steps, width = y.shape
    for t in range(steps):
        for c in range(width):
            ungated = y[t, c] + D[c] * x[np.uint64(x_at + t * x_pitch + c)]
            gate = z[np.uint64(z_at + t * z_pitch + c)] if gated else _ZERO
            out[np.uint64(out_at + t * channels + c)] = ungated * gate * sigmoid(gate) if gated else ungated


@loop
def _gate_gradient(x, x_at, x_pitch, z, z_at, z_pitch, D, dout, at, channels, y, dy, dz):
    """Gradients through the gate: writes dy and dz, given dout and the recurrence's output ``y``."""
    steps, width = dy.shape
    for t in range(steps):
        for c in range(width):
            gate = z[np.uint64(z_at + t * z_pitch + c)]
            opening = sigmoid(gate)
            ungated = y[t, c] + D[c] * x[np.uint64(x_at + t * x_pitch + c)]
            opened = dout[np.uint64(at + t * channels + c)] * opening
            dz[np.uint64(at + t * channels + c)] = opened * ungated * (_ONE + gate * (_ONE - opening))
            dy[t, c] = opened * gate


@loop
def _finish_inputs(x, x_at, x_pitch, delta, delta_at, delta_pitch, bias, D, dt, dy, ddt, du, dx, ddelta, at, channels):
    """Writes dx and ddelta of a block's valid steps.

    ``ddt`` is what reached dt through the decays, divided by log 2.
    """
    steps, width = dt.shape
    for t in range(steps):
        for c in range(width):
            dx[np.uint64(at + t * channels + c)] = du[t, c] * dt[t, c] + D[c] * dy[t, c]
            slope = sigmoid(np.float32(delta[np.uint64(delta_at + t * delta_pitch + c)] + bias[c]))
            ddelta[np.uint64(at + t * channels + c)] = (
                ddt[t, c] * LN_2 + du[t, c] * x[np.uint64(x_at + t * x_pitch + c)]
            ) * slope


@loop
def _add_parameter_gradients(x, x_at, x_pitch, dy, ddelta, at, channels, dD, dbias):
    """Adds what a block contributes to the gradients of D and of the bias."""
    steps, width = dy.shape
    for t in range(steps):
        for c in range(width):
            dD[c] += dy[t, c] * x[np.uint64(x_at + t * x_pitch + c)]
            dbias[c] += ddelta[np.uint64(at + t * channels + c)]


@loop
def prefetch(sequence, at, pitch, steps, channels, sink):
    """Reads one element of each cache line of a row's valid steps, in order, so that the row is in the cache.

    The core's hardware prefetcher recognizes this order. It does not recognize the strided reads of blocks of channels.
    """
    total = _ZERO
    for t in range(steps):
        for c in range(0, channels, 16):
            total += sequence[np.uint64(at + t * pitch + c)]
    sink[0] += total


@inlined
def block_of(blocks, low, states, width):
    """A view (state, channel) of the block that starts at channel ``low``. The ``blocks`` follow each other."""
    return blocks[low * states : (low + width) * states].reshape((states, width))


@inlined
def into_blocks(A, blocks):
    """Copies ``A`` (state, channel) to ``blocks``, in the order that ``block_of`` expects."""
    states, channels = A.shape
    for low in range(0, channels, BLOCK):
        width = min(BLOCK, channels - low)
        block_of(blocks, low, states, width)[:] = A[:, low : low + width]


@inlined
def from_blocks(blocks, A):
    """The inverse of ``into_blocks``."""
    states, channels = A.shape
    for low in range(0, channels, BLOCK):
        width = min(BLOCK, channels - low)
        A[:, low : low + width] = block_of(blocks, low, states, width)


@kernel
def _forward(first, last, chunks, x, x_pitch, delta, delta_pitch, z, z_pitch, A, B, C, D, bias, lengths, out):
    """Kernel of ``for_each_chunk``: A (replica, state, channel), B and C (rows, length, state), the rest flat."""
    replicas, states, channels = A.shape
    batch = lengths.size // replicas
    length = B.shape[1]
    sink = np.zeros(1, np.float32)
    h_buffer = np.empty(states * BLOCK, np.float32)
    buffer = np.empty((3, length * BLOCK), np.float32)
    decay_rates = np.empty(states * channels, np.float32)
    for task in range(first, last):
        replica = task // chunks
        into_blocks(A[replica], decay_rates)
        for row in range(replica * batch + task % chunks, (replica + 1) * batch, chunks):
            steps = min(max(lengths[row], 0), length)
            start = row * length
            prefetch(x, start * x_pitch, x_pitch, steps, channels, sink)
            prefetch(delta, start * delta_pitch, delta_pitch, steps, channels, sink)
            if z.size > 0:
                prefetch(z, start * z_pitch, z_pitch, steps, channels, sink)
            for low in range(0, channels, BLOCK):
                width = min(BLOCK, channels - low)
                dt = buffer[0, : steps * width].reshape((steps, width))
                u = buffer[1, : steps * width].reshape((steps, width))
                y = buffer[2, : steps * width].reshape((steps, width))
                h = h_buffer[: states * width].reshape((states, width))
                x_at = start * x_pitch + low
                load_steps(x, x_at, x_pitch, delta, start * delta_pitch + low, delta_pitch, bias[replica, low:], dt, u)
                _run(dt, u, block_of(decay_rates, low, states, width), B[row], C[row], h, y)
                _skip_and_gate(
                    x, x_at, x_pitch, z, start * z_pitch + low, z_pitch, z.size > 0,
                    D[replica, low:], y, out, start * channels + low, channels,
                )  # fmt: skip
            out[(start + steps) * channels : (start + length) * channels] = _ZERO


@inlined
def _backward_block(
    x, x_at, x_pitch, delta, delta_at, delta_pitch, z, z_at, z_pitch, A, B, C, D, bias, dout,
    dx, ddelta, dz, dA, dB, dC, dD, dbias, at, channels, steps, width, states_of_steps, sequences,
):  # fmt: skip
    """The backward pass of ``width`` channels of a row, which start at ``at``. Adds to dA, dB, dC, dD and dbias.

    ``states_of_steps`` (2, ...) and ``sequences`` (6, ...) are scratch memory, which a thread uses for every block.
    """
    states = A.shape[0]
    size = steps * width
    dt = sequences[0, :size].reshape((steps, width))
    u = sequences[1, :size].reshape((steps, width))
    y = sequences[2, :size].reshape((steps, width))
    dy = sequences[3, :size].reshape((steps, width))
    ddt = sequences[4, :size].reshape((steps, width))
    du = sequences[5, :size].reshape((steps, width))
    decay = states_of_steps[0, : size * states].reshape((steps, states, width))
    h = states_of_steps[1, : size * states].reshape((steps, states, width))
    load_steps(x, x_at, x_pitch, delta, delta_at, delta_pitch, bias, dt, u)
    _run_keeping_states(dt, u, A, B, C, decay, h, y)
    if z.size > 0:
        _gate_gradient(x, x_at, x_pitch, z, z_at, z_pitch, D, dout, at, channels, y, dy, dz)
    else:
        for t in range(steps):
            dy[t] = dout[at + t * channels : at + t * channels + width]
    dh = np.empty((states, width), np.float32)
    _backward_recurrence(dt, u, A, B, C, decay, h, dy, dh, ddt, du, dA, dB, dC)
    _finish_inputs(
        x, x_at, x_pitch, delta, delta_at, delta_pitch, bias, D, dt, dy, ddt, du, dx, ddelta, at, channels
    )  # fmt: skip
    _add_parameter_gradients(x, x_at, x_pitch, dy, ddelta, at, channels, dD, dbias)


@kernel
def _backward(
    first, last, chunks, x, x_pitch, delta, delta_pitch, z, z_pitch, A, B, C, D, bias, lengths, dout,
    dx, ddelta, dz, dA, dB, dC, dD, dbias,
):  # fmt: skip
    """Kernel of ``for_each_chunk``.

    dA (replica, chunk, state, channel), dD and dbias (replica, chunk, channel) hold each chunk's partial sums.
    """
    replicas, states, channels = A.shape
    batch = lengths.size // replicas
    length = B.shape[1]
    sink = np.zeros(1, np.float32)
    states_of_steps = np.empty((2, length * states * BLOCK), np.float32)
    sequences = np.empty((6, length * BLOCK), np.float32)
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
            prefetch(dout, start * channels, channels, steps, channels, sink)
            if z.size > 0:
                prefetch(z, start * z_pitch, z_pitch, steps, channels, sink)
            for low in range(0, channels, BLOCK):
                width = min(BLOCK, channels - low)
                _backward_block(
                    x, start * x_pitch + low, x_pitch, delta, start * delta_pitch + low, delta_pitch,
                    z, start * z_pitch + low, z_pitch, block_of(decay_rates, low, states, width), B[row], C[row],
                    D[r, low:], bias[r, low:], dout,
                    dx, ddelta, dz, block_of(dA_blocks, low, states, width), dB[row], dC[row],
                    dD[r, chunk, low:], dbias[r, chunk, low:], start * channels + low, channels, steps, width,
                    states_of_steps, sequences,
                )  # fmt: skip
            rest = slice((start + steps) * channels, (start + length) * channels)
            dx[rest] = _ZERO
            ddelta[rest] = _ZERO
            if z.size > 0:
                dz[rest] = _ZERO
        from_blocks(dA_blocks, dA[r, chunk])


class _SelectiveScan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor,
        z: Tensor | None, lengths: Tensor | None, delta_bias: Tensor | None,
    ) -> Tensor:  # fmt: skip
        ctx.save_for_backward(x, delta, A, B, C, D, z, lengths, delta_bias)
        out = torch.empty(x.shape, dtype=torch.float32)
        chunks, inputs = _arrays(x, delta, A, B, C, D, z, lengths, delta_bias)
        for_each_chunk(_forward, chunks * x.shape[0], chunks, *inputs, out.view(-1).numpy())
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
        x, delta, A, B, C, D, z, lengths, delta_bias = ctx.saved_tensors
        chunks, inputs = _arrays(x, delta, A, B, C, D, z, lengths, delta_bias)
        replica, _, length, channel = x.shape
        state = A.shape[2]
        dx, ddelta = torch.empty(x.shape), torch.empty(x.shape)
        dz = None if z is None else torch.empty(x.shape)
        dB, dC = torch.empty(B.shape), torch.empty(C.shape)
        dA = np.empty((replica, chunks, state, channel), np.float32)
        dD, dbias = np.empty((2, replica, chunks, channel), np.float32)
        for_each_chunk(
            _backward, chunks * replica, chunks, *inputs, dout.contiguous().view(-1).numpy(),
            dx.view(-1).numpy(), ddelta.view(-1).numpy(), _EMPTY if dz is None else dz.view(-1).numpy(),
            dA, dB.view(-1, length, state).numpy(), dC.view(-1, length, state).numpy(), dD, dbias,
        )  # fmt: skip
        return (
            dx, ddelta, in_order(dA).transpose(1, 2).contiguous(), dB, dC, in_order(dD),
            dz, None, None if delta_bias is None else in_order(dbias),
        )  # fmt: skip


_EMPTY = np.empty(0, np.float32)


def _arrays(
    x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor,
    z: Tensor | None, lengths: Tensor | None, delta_bias: Tensor | None,
) -> tuple[int, tuple[Any, ...]]:  # fmt: skip
    """The number of chunks of each replica, and the kernels' inputs: views, except for A."""
    rows, length = x.shape[0] * x.shape[1], x.shape[2]
    gate = (_EMPTY, 0) if z is None else flat_array(z)
    B, C = (part.detach().contiguous().view(rows, length, A.shape[2]) for part in (B, C))
    rate, *others = parameters(x, A, D, lengths, delta_bias)
    return chunk_count(x.shape[1]), (*flat_array(x), *flat_array(delta), *gate, rate, B.numpy(), C.numpy(), *others)


def parameters(
    x: Tensor, A: Tensor, D: Tensor, lengths: Tensor | None, delta_bias: Tensor | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A / log 2 as (replica, state, channel); D; the bias, or zeros; and the number of valid positions of each row."""
    replica, batch, length, channel = x.shape
    rate = (A.detach() * float(LOG2_E)).transpose(1, 2).contiguous().numpy()
    bias = np.zeros((replica, channel), np.float32) if delta_bias is None else delta_bias.detach().contiguous().numpy()
    valid = torch.full((replica, batch), length) if lengths is None else lengths
    return rate, D.detach().contiguous().numpy(), bias, valid.reshape(-1).contiguous().numpy()


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
    floats = [None if part is None else part.float() for part in (x, delta, A, B, C, D, z)]
    bias = None if delta_bias is None else delta_bias.float()
    result: Tensor = _SelectiveScan.apply(*floats, lengths, bias)
    return result.to(x.dtype)
