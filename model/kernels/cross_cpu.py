"""DCNv3's cross layer after its product on CPU cores, for ``mdaf.model.ops.cross_layer``.

It computes dropout(x + base * ([h, h * ReLU(LN(h))] + bias)), one row at a time. The backward pass computes everything
again from ``h`` and ``base``. The gradients of gain, shift and bias are sums over the batch. Each chunk of rows has its
own partial sum, and the partial sums are added in the order of the chunks.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mdaf.model.kernels.dropout_cpu import keys_of, mask_token, spread
from mdaf.model.kernels.norm_cpu import add, add_product, mean_of, norm_means, normalize, scale_of
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
def _base_gradient(dy, cross, bias, dbase):
    for c in range(dy.size):
        dbase[c] = dy[c] * (cross[c] + bias[c])


@loop
def _norm_gradient(dcross, h, gate, dn):
    for c in range(dn.size):
        dn[c] = dcross[c] * h[c] if gate[c] > _ZERO else _ZERO


@loop
def _product_gradient(dcross1, dcross2, gate, dh):
    """The gradient of h as a factor of both halves of the cross: h itself, and h * gate."""
    for c in range(dh.size):
        dh[c] = dcross1[c] + dcross2[c] * gate[c]


@loop
def _add_norm_input_gradient(normal, dn, gain, scale, mean, along, dh):
    for c in range(dh.size):
        dh[c] += scale * (dn[c] * gain[c] - mean - normal[c] * along)


@exact
def _second_half(h, gain, shift, eps, normal, gate, second):
    """Fills ``normal`` = LN(h), ``gate`` = ReLU(LN(h) * gain + shift) and ``second`` = h * gate.

    Returns 1 / the standard deviation of h.
    """
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
            _second_half(h[r, t], gain[r], shift[r], eps, normal, gate, second)
            _add_crossed(x[r, t, :half], base[r, t, :half], h[r, t], bias[r, :half], out[r, t, :half])
            _add_crossed(x[r, t, half:], base[r, t, half:], second, bias[r, half:], out[r, t, half:])
            if rate[r] > _ZERO:
                mask_token(out[r, t], t, layout, low, high, rate[r])


@exact
def _both_base_gradients(dy, h, second, bias, dbase):
    _base_gradient(dy[: h.size], h, bias[: h.size], dbase[: h.size])
    _base_gradient(dy[h.size :], second, bias[h.size :], dbase[h.size :])


@kernel
def _backward(
    first, last, chunks, layout, eps, dout, h, base, gain, shift, bias, rate, key, dh, dx, dbase, shares
):  # fmt: skip
    """Kernel of ``for_each_chunk``; shares (replica, chunk, 4 * channel): partial gradients of gain, shift and bias.

    ``dbase`` has no channels if the base is x itself.
    """
    tokens, half = h.shape[1:]
    separate_base = dbase.size > 0
    normal = np.empty(half, np.float32)  # numba would not take the unpacked rows of one array for contiguous
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
            scale = _second_half(h[r, t], gain[r], shift[r], eps, normal, gate, second)
            _copy(dout[r, t], dy)
            if rate[r] > _ZERO:
                mask_token(dy, t, layout, low, high, rate[r])
            _both_base_gradients(dy, h[r, t], second, bias[r], dbase[r, t] if separate_base else dx[r, t])
            if separate_base:
                _copy(dy, dx[r, t])
            else:
                add(dy, dx[r, t])
            _product(dy, base[r, t], dcross)
            _norm_gradient(dcross2, h[r, t], gate, dn)
            mean, along = norm_means(normal, dn, gain[r])
            _product_gradient(dcross1, dcross2, gate, dh[r, t])
            _add_norm_input_gradient(normal, dn, gain[r], scale, mean, along, dh[r, t])
            add_product(dn, normal, dgain)
            add(dn, dshift)
            add(dcross, dbias)


def forward(
    h: Tensor, x: Tensor, base: Tensor | None, gain: Tensor, shift: Tensor, bias: Tensor, rate: Tensor | None,
    key: Tensor | None, layout: RowLayout, eps: float, dtype: torch.dtype,
) -> Tensor:  # fmt: skip
    """The layer's result in ``dtype``, (replica, batch, 2 * channel).

    ``h``: (replica, batch, channel). ``x``, ``base``: twice as wide; ``base`` None stands for x itself. ``gain``,
    ``shift``: (replica, channel). ``bias``: (replica, 2 * channel). ``rate``, ``key``: (replica,), None for no dropout.
    """
    out, chunks = torch.empty_like(x), chunk_count(x.shape[1])
    tensors = (h, x, x if base is None else base, gain, shift, bias)
    arrays = (*(part.detach().contiguous().numpy() for part in tensors), *keys_of(x, rate, key), out.numpy())
    for_each_chunk(_forward, chunks * len(x), chunks, tuple(layout), np.float32(eps), *arrays)
    return out.to(dtype)


def backward(
    dout: Tensor, h: Tensor, base: Tensor, gain: Tensor, shift: Tensor, bias: Tensor, rate: Tensor | None,
    key: Tensor | None, layout: RowLayout, eps: float, dtype: torch.dtype, separate_base: bool,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of h, of x in ``dtype``, of the base, of gain, of shift and of bias.

    The base's gradient is None without a ``separate_base``: x is the base, and x's gradient is the sum of both.
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
