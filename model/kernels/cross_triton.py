"""DCNv3's cross layer after its product on CUDA, in Triton, for ``mdaf.model.ops.cross_layer``.

It computes dropout(x + base * ([h, h * ReLU(LN(h))] + bias)). A program holds rows of h, and both halves of the same
rows of x, base and the result. The backward pass computes everything again from ``h`` and ``base``. The gradients of
gain, shift and bias are sums over the batch. Each program writes a partial sum, and the partial sums are added in a
fixed order.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from mdaf.model.kernels.hash_triton import PER_REPLICA, mask_of, masked, positions, spread
from mdaf.model.kernels.norm_triton import centred
from mdaf.model.kernels.rows import RowLayout
from mdaf.model.kernels.triton_math import load, store, sum_partials

#: Elements of a tile of h. It is small, so that usual batches have at least one tile for each processor of a GPU.
TILE = 1024
#: The fewest rows that a program of the backward pass takes, tile after tile, for each partial sum that it writes.
ROWS = 16


@triton.jit(do_not_specialize=["tokens", "length", "gap", "begin"], do_not_specialize_on_alignment=PER_REPLICA)
def _cross_forward(
    h, x, base, gain, shift, bias, rates, keys, out, tokens, length, gap, begin, eps,
    SEPARATE_BASE: tl.constexpr, DROPPED: tl.constexpr, CHANNELS: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(tokens, ROWS)
    replica = (tl.program_id(0) // blocks).to(tl.int64)
    token = (tl.program_id(0) % blocks) * ROWS + tl.arange(0, ROWS)
    c = tl.arange(0, WIDTH)
    real = (token < tokens)[:, None] & (c < CHANNELS)[None, :]
    row = (replica * tokens + token)[:, None]
    first = row * (2 * CHANNELS) + c[None, :]
    second = first + CHANNELS
    of_replica = replica * CHANNELS + c
    hidden = load(h + row * CHANNELS + c[None, :], real)
    y1, y2 = load(x + first, real), load(x + second, real)
    base1, base2 = y1, y2
    if SEPARATE_BASE:
        base1, base2 = load(base + first, real), load(base + second, real)
    _, deviation, rstd = centred(hidden, real, CHANNELS, eps)
    normal = deviation * rstd[:, None]
    g, s = load(gain + of_replica, c < CHANNELS), load(shift + of_replica, c < CHANNELS)
    n = normal * g[None, :] + s[None, :]
    bias1 = load(bias + replica * (2 * CHANNELS) + c, c < CHANNELS)
    bias2 = load(bias + replica * (2 * CHANNELS) + CHANNELS + c, c < CHANNELS)
    y1 += base1 * (hidden + bias1[None, :])
    y2 += base2 * (hidden * tl.where(n > 0.0, n, 0.0) + bias2[None, :])
    if DROPPED:
        low, high = spread(tl.load(keys + replica))
        rate = tl.load(rates + replica)
        y1 = masked(y1, positions(token, c, length, 2 * CHANNELS, gap, begin), low, high, rate)
        y2 = masked(y2, positions(token, c + CHANNELS, length, 2 * CHANNELS, gap, begin), low, high, rate)
    store(out + first, y1, real)
    store(out + second, y2, real)


@triton.jit(
    do_not_specialize=["tokens", "length", "gap", "begin", "replicas"], do_not_specialize_on_alignment=PER_REPLICA
)
def _cross_backward(
    dout, h, base, gain, shift, bias, rates, keys, dh, dx, dbase, shares, tokens, length, gap, begin, replicas, eps,
    SEPARATE_BASE: tl.constexpr, DROPPED: tl.constexpr, CHANNELS: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr,
    TILES: tl.constexpr,
):  # fmt: skip
    programs = tl.cdiv(tokens, ROWS * TILES)
    replica = (tl.program_id(0) // programs).to(tl.int64)
    program = tl.program_id(0) % programs
    c = tl.arange(0, WIDTH)
    here = c < CHANNELS
    of_replica = replica * CHANNELS + c
    g, s = load(gain + of_replica, here), load(shift + of_replica, here)
    bias1 = load(bias + replica * (2 * CHANNELS) + c, here)
    bias2 = load(bias + replica * (2 * CHANNELS) + CHANNELS + c, here)
    low, high = spread(tl.load(keys + replica))
    rate = tl.load(rates + replica)
    dgain = tl.zeros((WIDTH,), tl.float32)
    dshift = tl.zeros((WIDTH,), tl.float32)
    dbias1 = tl.zeros((WIDTH,), tl.float32)
    dbias2 = tl.zeros((WIDTH,), tl.float32)
    for tile in range(TILES):
        token = (program * TILES + tile) * ROWS + tl.arange(0, ROWS)
        real = (token < tokens)[:, None] & here[None, :]
        row = (replica * tokens + token)[:, None]
        first = row * (2 * CHANNELS) + c[None, :]
        second = first + CHANNELS
        hidden = load(h + row * CHANNELS + c[None, :], real)
        dy1, dy2 = load(dout + first, real), load(dout + second, real)
        dcross1, dcross2 = load(base + first, real), load(base + second, real)
        if DROPPED:
            dy1 = masked(dy1, positions(token, c, length, 2 * CHANNELS, gap, begin), low, high, rate)
            dy2 = masked(dy2, positions(token, c + CHANNELS, length, 2 * CHANNELS, gap, begin), low, high, rate)
        dcross1 *= dy1
        dcross2 *= dy2
        _, deviation, rstd = centred(hidden, real, CHANNELS, eps)
        normal = deviation * rstd[:, None]
        n = normal * g[None, :] + s[None, :]
        gate = tl.where(n > 0.0, n, 0.0)
        through1 = dy1 * (hidden + bias1[None, :])
        through2 = dy2 * (hidden * gate + bias2[None, :])
        if SEPARATE_BASE:
            store(dx + first, dy1, real)
            store(dx + second, dy2, real)
            store(dbase + first, through1, real)
            store(dbase + second, through2, real)
        else:
            store(dx + first, dy1 + through1, real)
            store(dx + second, dy2 + through2, real)
        dn = tl.where(n > 0.0, dcross2 * hidden, 0.0)
        dnormal = dn * g[None, :]
        mean = tl.sum(dnormal, axis=1) / CHANNELS
        along = tl.sum(dnormal * normal, axis=1) / CHANNELS
        dnormed = rstd[:, None] * (dnormal - mean[:, None] - normal * along[:, None])
        store(dh + row * CHANNELS + c[None, :], dcross1 + dcross2 * gate + dnormed, real)
        dgain += tl.sum(dn * normal, axis=0)
        dshift += tl.sum(dn, axis=0)
        dbias1 += tl.sum(dcross1, axis=0)
        dbias2 += tl.sum(dcross2, axis=0)
    # All partial gradients of the gain come first, then those of the shift, then those of each half of the bias. So the
    # sums of each are one contiguous tensor.
    step = programs.to(tl.int64) * CHANNELS
    share = shares + program * CHANNELS + c
    tl.store(share + replica * step, dgain, mask=here)
    tl.store(share + (replicas + replica) * step, dshift, mask=here)
    tl.store(share + (2 * replicas + 2 * replica) * step, dbias1, mask=here)
    tl.store(share + (2 * replicas + 2 * replica + 1) * step, dbias2, mask=here)


def _tile(channels: int) -> tuple[int, int]:
    """Rows and channels of a tile."""
    width = triton.next_power_of_2(channels)
    return max(1, TILE // width), width


def forward(
    h: Tensor, x: Tensor, base: Tensor | None, gain: Tensor, shift: Tensor, bias: Tensor, rate: Tensor | None,
    key: Tensor | None, layout: RowLayout, eps: float, dtype: torch.dtype,
) -> Tensor:  # fmt: skip
    """The layer's result in ``dtype``, (replica, batch, 2 * channel).

    ``h``: (replica, batch, channel). ``x``, ``base``: twice as wide; ``base`` None stands for x itself. ``gain``,
    ``shift``: (replica, channel). ``bias``: (replica, 2 * channel). ``rate``, ``key``: (replica,), None for no dropout.
    """
    replica, tokens, channels = h.shape
    out = torch.empty(x.shape, dtype=dtype, device=x.device)
    rows, width = _tile(channels)
    _cross_forward[(replica * triton.cdiv(tokens, rows),)](
        h, x, x if base is None else base, gain, shift, bias, *mask_of(x, rate, key), out,
        tokens, layout.length, layout.gap, layout.begin, eps, base is not None, key is not None, channels, rows, width,
    )  # fmt: skip
    return out


def backward(
    dout: Tensor, h: Tensor, base: Tensor, gain: Tensor, shift: Tensor, bias: Tensor, rate: Tensor | None,
    key: Tensor | None, layout: RowLayout, eps: float, dtype: torch.dtype, separate_base: bool,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of h, of x in ``dtype``, of the base, of gain, of shift and of bias.

    The base's gradient is None without a ``separate_base``: x is the base, and x's gradient is the sum of both.
    """
    replica, tokens, channels = h.shape
    dh, dx = torch.empty_like(h), torch.empty(base.shape, dtype=dtype, device=base.device)
    dbase = torch.empty_like(base) if separate_base else None
    rows, width = _tile(channels)
    tiles = max(1, ROWS // rows)
    programs = triton.cdiv(tokens, rows * tiles)
    shares = torch.empty((4 * replica, programs, channels), device=h.device)
    _cross_backward[(replica * programs,)](
        dout, h, base, gain, shift, bias, *mask_of(base, rate, key), dh, dx, dx if dbase is None else dbase, shares,
        tokens, layout.length, layout.gap, layout.begin, replica, eps,
        separate_base, key is not None, channels, rows, width, tiles,
    )  # fmt: skip
    dgain, dshift, dbias = sum_partials(shares).split([replica, replica, 2 * replica])
    return dh, dx, dbase, dgain, dshift, dbias.view(replica, 2 * channels)
