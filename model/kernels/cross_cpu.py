"""DCNv3's cross layer after its product on CPU cores: dropout(x + base * ([h, h * ReLU(LN(h))] + bias)), row by row.

Backward computes everything again from ``h`` and ``base``. What is summed over the batch (gain, shift, bias) is kept
for each chunk of rows and added in the chunks' order.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mdaf.model.kernels.dropout_cpu import keys_of, mask_token, spread
from mdaf.model.kernels.norm_cpu import add, add_product, along_of, mean_of, normalize, scale_of
from mdaf.model.kernels.numba_jit import exact, kernel, loop
from mdaf.model.kernels.rows import RowLayout
from mdaf.model.kernels.threads import chunk_count, for_each_chunk, in_order

_ZERO = np.float32(0.0)


@loop
def _copy(part, out):
    for c in range(part.size):
        out[c] = part[c]


@loop
def _product(a, b, out):
    for c in range(out.size):
        out[c] = a[c] * b[c]


@loop
def _gate(normal, gain, shift, gate):
    for c in range(normal.size):
        n = normal[c] * gain[c] + shift[c]
        gate[c] = n if n > _ZERO else _ZERO


@loop
def _add_crossed(x, base, cross, bias, out):
    for c in range(out.size):
        out[c] = x[c] + base[c] * (cross[c] + bias[c])


@loop
def _back_to_base(dy, cross, bias, dbase):
    for c in range(dy.size):
        dbase[c] = dy[c] * (cross[c] + bias[c])


@loop
def _back_to_norm(dcross, h, gate, dn):
    for c in range(dn.size):
        dn[c] = dcross[c] * h[c] if gate[c] > _ZERO else _ZERO


@loop
def _back_to_both(dcross1, dcross2, gate, dh):
    """The gradient of h as a factor of both halves."""
    for c in range(dh.size):
        dh[c] = dcross1[c] + dcross2[c] * gate[c]


@loop
def _add_back_through_norm(normal, dn, gain, scale, mean, along, dh):
    for c in range(dh.size):
        dh[c] += scale * (dn[c] * gain[c] - mean - normal[c] * along)


@exact
def _second(h, gain, shift, eps, normal, gate, second):
    """Fills LN(h), ReLU(LN(h) * gain + shift) and the second half of the crosses; 1 / the standard deviation."""
    _copy(h, normal)
    mean = mean_of(normal)
    scale = scale_of(normal, mean, eps)
    normalize(normal, mean, scale)
    _gate(normal, gain, shift, gate)
    _product(h, gate, second)
    return scale


@kernel
def _forward(first, last, chunks, layout, eps, h, x, base, gain, shift, bias, rate, key, out):
    """Kernel of ``for_each_chunk``; h (replica, row, channel), x, base and out twice as wide."""
    tokens, half = h.shape[1:]
    normal = np.empty(half, np.float32)
    gate = np.empty(half, np.float32)
    second = np.empty(half, np.float32)
    for task in range(first, last):
        r = task // chunks
        low, high = spread(key[r])
        for t in range(task % chunks * tokens // chunks, (task % chunks + 1) * tokens // chunks):
            _second(h[r, t], gain[r], shift[r], eps, normal, gate, second)
            _add_crossed(x[r, t, :half], base[r, t, :half], h[r, t], bias[r, :half], out[r, t, :half])
            _add_crossed(x[r, t, half:], base[r, t, half:], second, bias[r, half:], out[r, t, half:])
            if rate[r] > _ZERO:
                mask_token(out[r, t], t, layout, low, high, rate[r])


@exact
def _back_to_bases(dy, h, second, bias, dbase):
    _back_to_base(dy[: h.size], h, bias[: h.size], dbase[: h.size])
    _back_to_base(dy[h.size :], second, bias[h.size :], dbase[h.size :])


@kernel
def _backward(
    first, last, chunks, layout, eps, dout, h, base, gain, shift, bias, rate, key, dh, dx, dbase, shares
):  # fmt: skip
    """Kernel of ``for_each_chunk``; shares (replica, chunk, 4 * channel) of the gradients of gain, shift and bias.

    ``dbase`` has no channels where the base is x itself.
    """
    tokens, half = h.shape[1:]
    separate_base = dbase.size > 0
    normal = np.empty(half, np.float32)  # rows of one array, unpacked, would not count as contiguous
    gate = np.empty(half, np.float32)
    second = np.empty(half, np.float32)
    dn = np.empty(half, np.float32)
    dy = np.empty(2 * half, np.float32)
    dcross = np.empty(2 * half, np.float32)
    dcross1, dcross2 = dcross[:half], dcross[half:]
    for task in range(first, last):
        r = task // chunks
        low, high = spread(key[r])
        share = shares[r, task % chunks]
        share[:] = _ZERO
        dgain, dshift, dbias = share[:half], share[half : 2 * half], share[2 * half :]
        for t in range(task % chunks * tokens // chunks, (task % chunks + 1) * tokens // chunks):
            scale = _second(h[r, t], gain[r], shift[r], eps, normal, gate, second)
            _copy(dout[r, t], dy)
            if rate[r] > _ZERO:
                mask_token(dy, t, layout, low, high, rate[r])
            _back_to_bases(dy, h[r, t], second, bias[r], dbase[r, t] if separate_base else dx[r, t])
            if separate_base:
                _copy(dy, dx[r, t])
            else:
                add(dy, dx[r, t])
            _product(dy, base[r, t], dcross)
            _back_to_norm(dcross2, h[r, t], gate, dn)
            mean, along = along_of(normal, dn, gain[r])
            _back_to_both(dcross1, dcross2, gate, dh[r, t])
            _add_back_through_norm(normal, dn, gain[r], scale, mean, along, dh[r, t])
            add_product(dn, normal, dgain)
            add(dn, dshift)
            add(dcross, dbias)


def forward(
    h: Tensor, x: Tensor, base: Tensor | None, gain: Tensor, shift: Tensor, bias: Tensor, rate: Tensor | None,
    key: Tensor | None, layout: RowLayout, eps: float, dtype: torch.dtype,
) -> Tensor:  # fmt: skip
    """The result in ``dtype``; h (replica, batch, channel), x and base twice as wide, ``base`` None for x itself."""
    out, chunks = torch.empty_like(x), chunk_count(x.shape[1])
    tensors = (h, x, x if base is None else base, gain, shift, bias)
    arrays = (*(part.detach().contiguous().numpy() for part in tensors), *keys_of(x, rate, key), out.numpy())
    for_each_chunk(_forward, chunks * len(x), chunks, tuple(layout), np.float32(eps), *arrays)
    return out.to(dtype)


def backward(
    dout: Tensor, h: Tensor, base: Tensor, gain: Tensor, shift: Tensor, bias: Tensor, rate: Tensor | None,
    key: Tensor | None, layout: RowLayout, eps: float, dtype: torch.dtype, separate_base: bool,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of h, of x in ``dtype``, of a ``separate_base``, of gain, shift and bias.

    Where the base is x itself, x's gradient is that of both.
    """
    (replica, tokens, half), chunks = h.shape, chunk_count(h.shape[1])
    dh, dx = torch.empty_like(h), torch.empty_like(base)
    dbase = torch.empty((replica, tokens, 2 * half if separate_base else 0))
    shares = np.empty((replica, chunks, 4 * half), np.float32)
    tensors = (dout, h, base, gain, shift, bias)
    arrays = (
        *(part.detach().contiguous().numpy() for part in tensors), *keys_of(base, rate, key),
        dh.numpy(), dx.numpy(), dbase.numpy(), shares,
    )  # fmt: skip
    for_each_chunk(_backward, chunks * replica, chunks, tuple(layout), np.float32(eps), *arrays)
    dgain, dshift, dbias = in_order(shares).split([half, half, 2 * half], dim=1)
    return dh, dx.to(dtype), dbase if separate_base else None, dgain, dshift, dbias
