"""Triton functions that both scans on CUDA share: the rows, channels and states of a program, and its parameters."""

from __future__ import annotations

import triton
import triton.language as tl

from mdaf.model.kernels.triton_math import LOG2_E, read, store


@triton.jit
def rows_of(batch, blocks: tl.constexpr, rows_each):
    """A backward program's block of channels, replica and group of ``rows_each`` rows, and the number of groups."""
    block = tl.program_id(0) % blocks
    groups = tl.cdiv(batch, rows_each)
    replica = (tl.program_id(0) // blocks // groups).to(tl.int64)
    return block, replica, (tl.program_id(0) // blocks) % groups, groups


@triton.jit
def tile_of(block, channels: tl.constexpr, states: tl.constexpr, CHANNELS: tl.constexpr, STATES: tl.constexpr):
    """A block's channels c and states n, the offsets (channel, state) into A, and which channels and offsets exist."""
    c = block * CHANNELS + tl.arange(0, CHANNELS)
    n = tl.arange(0, STATES)
    real_c = c < channels
    return c, n, c[:, None] * states + n[None, :], real_c, real_c[:, None] & (n < states)[None, :]


@triton.jit
def parameters_of(
    A, D, bias, replica, c, cell, real_c, real, channels: tl.constexpr, states: tl.constexpr,
    BIASED: tl.constexpr, EVEN: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """A / log 2 (channel, state), D (channel,), and the bias of delta or zeros (channel,)."""
    rate = read(A + replica * states * channels + cell, real, EVEN) * LOG2_E
    skip = read(D + replica * channels + c, real_c, EVEN)
    shift = tl.zeros((CHANNELS,), tl.float32)
    if BIASED:
        shift = read(bias + replica * channels + c, real_c, EVEN)
    return rate, skip, shift


@triton.jit
def steps_of(lengths, row, present, length, RAGGED: tl.constexpr):
    """The number of valid steps of a row, and of all its steps; both are 0 if the row is not ``present``."""
    clear = tl.where(present, length, 0)
    steps = clear
    if RAGGED:
        steps = tl.minimum(tl.maximum(tl.load(lengths + row, mask=present, other=0), 0), clear).to(tl.int32)
    return steps, clear


@triton.jit
def store_shares(
    dparameters, share, dA, dD, dbias, c, cell, real_c, real, channels: tl.constexpr, states: tl.constexpr
):  # fmt: skip
    """Writes a program's partial gradients of A, D and the bias to ``dparameters`` (share, (states + 2) * channels)."""
    dparameters += share * (states + 2) * channels
    store(dparameters + cell, dA, real)
    store(dparameters + states * channels + c, dD, real_c)
    store(dparameters + (states + 1) * channels + c, dbias, real_c)
