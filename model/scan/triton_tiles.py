"""What the scans on CUDA have in common: which rows, channels and states a program owns, and what it reads of them."""

from __future__ import annotations

import triton
import triton.language as tl

from mdaf.model.kernels.triton_math import LOG2_E, read, store


@triton.jit
def rows_of(batch, blocks: tl.constexpr, rows_each):
    """A program of a backward pass: its block of channels, its replica, its group of ``rows_each`` rows, how many of
    them there are.
    """
    block = tl.program_id(0) % blocks
    groups = tl.cdiv(batch, rows_each)
    replica = (tl.program_id(0) // blocks // groups).to(tl.int64)
    return block, replica, (tl.program_id(0) // blocks) % groups, groups


@triton.jit
def tile_of(block, channels: tl.constexpr, states: tl.constexpr, CHANNELS: tl.constexpr, STATES: tl.constexpr):
    """A block's channels c and states n, the cells (channel, state) of A, and which channels and cells are real."""
    c = block * CHANNELS + tl.arange(0, CHANNELS)
    n = tl.arange(0, STATES)
    real_c = c < channels
    return c, n, c[:, None] * states + n[None, :], real_c, real_c[:, None] & (n < states)[None, :]


@triton.jit
def parameters_of(
    A, D, bias, replica, c, cell, real_c, real, channels: tl.constexpr, states: tl.constexpr,
    BIASED: tl.constexpr, EVEN: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """A in units of log 2 (channel, state), D, and the bias of delta or zero (channel,)."""
    rate = read(A + replica * states * channels + cell, real, EVEN) * LOG2_E
    skip = read(D + replica * channels + c, real_c, EVEN)
    shift = tl.zeros((CHANNELS,), tl.float32)
    if BIASED:
        shift = read(bias + replica * channels + c, real_c, EVEN)
    return rate, skip, shift


@triton.jit
def steps_of(lengths, row, present, length, RAGGED: tl.constexpr):
    """A row's valid steps, and all of its steps; none of a row that is not ``present``."""
    clear = tl.where(present, length, 0)
    steps = clear
    if RAGGED:
        steps = tl.minimum(tl.maximum(tl.load(lengths + row, mask=present, other=0), 0), clear).to(tl.int32)
    return steps, clear


@triton.jit
def store_shares(
    dparameters, share, dA, dD, dbias, c, cell, real_c, real, channels: tl.constexpr, states: tl.constexpr
):  # fmt: skip
    """A program's share of the gradients of A, D and the bias, ``dparameters`` (share, (states + 2) * channels)."""
    dparameters += share * (states + 2) * channels
    store(dparameters + cell, dA, real)
    store(dparameters + states * channels + c, dD, real_c)
    store(dparameters + (states + 1) * channels + c, dbias, real_c)
