"""The dropout mask of ``mdaf.model.ops.hash_dropout`` on CPU cores, for that operation and for the fused kernels here.

The loops hash eight 32-bit words at a time and take no longer than reading the tensor does.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from mdaf.model.kernels.numba_jit import exact, kernel
from mdaf.model.kernels.threads import for_each_chunk

#: Elements in a chunk: enough to make the cost of a call negligible, few enough that all threads end at about the same
#: time.
CHUNK = 1 << 17

_M1 = np.uint32(0x7FEB352D)
_M2 = np.uint32(0x846CA68B)
_15 = np.uint32(15)
_16 = np.uint32(16)
_8 = np.uint32(8)
_ZERO = np.float32(0.0)
_ONE = np.float32(1.0)


@exact
def _finalize(word):
    word = np.uint32(np.uint32(word ^ np.uint32(word >> _16)) * _M1)
    word = np.uint32(np.uint32(word ^ np.uint32(word >> _15)) * _M2)
    return np.uint32(word ^ np.uint32(word >> _16))


@exact
def spread(key):
    """The lower and the upper 32 bits of a key's hash."""
    word = np.uint64(key)
    word = np.uint64((word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9))
    word = np.uint64((word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB))
    word = np.uint64(word ^ (word >> np.uint64(31)))
    return np.uint32(word & np.uint64(0xFFFFFFFF)), np.uint32(word >> np.uint64(32))


@exact
def mask_token(x, token, layout, low, high, rate):
    """Applies dropout to ``x`` (channel) in place. ``x`` is token number ``token`` of its replica.

    ``layout``: as in ``RowLayout``. ``low``, ``high``: from ``spread``.
    """
    length, gap, begin = layout
    start = begin + token * x.size + token // length * gap
    threshold = np.float32(rate * np.float32(16777216.0))
    scale = np.float32(_ONE / (_ONE - rate))
    for c in range(x.size):
        word = _finalize(np.uint32(_finalize(np.uint32(np.uint32(start + c) ^ low)) ^ high))
        kept = np.float32(np.int32(np.uint32(word >> _8))) >= threshold
        x[c] = x[c] * scale if kept else _ZERO


@exact
def _mask_range(x, out, start, low, high, threshold, scale):
    """Applies dropout to ``x``, a slice that begins at position ``start`` of the replica, and writes it to ``out``."""
    for i in range(x.size):
        word = _finalize(np.uint32(_finalize(np.uint32(np.uint32(start + i) ^ low)) ^ high))
        # The word is below 2^24, so a conversion from a signed integer is exact too. Only that one vectorizes.
        kept = np.float32(np.int32(np.uint32(word >> _8))) >= threshold
        out[i] = x[i] * scale if kept else _ZERO


@kernel
def _apply(first, last, chunk, row, pitch, begin, x, rate, scale, key, out):
    """Kernel of ``for_each_chunk``; x and out (replica, element), chunks numbered through all replicas."""
    elements = x.shape[1]
    chunks = (elements + chunk - 1) // chunk
    for task in range(first, last):
        replica = task // chunks
        start = (task % chunks) * chunk
        stop = min(start + chunk, elements)
        low, high = spread(key[replica])
        threshold = np.float32(rate[replica] * np.float32(16777216.0))
        while start < stop:
            inside = start % row
            end = min(start - inside + row, stop)
            position = begin + (start // row) * pitch + inside
            _mask_range(x[replica, start:end], out[replica, start:end], position, low, high, threshold, scale[replica])
            start = end


def keys_of(x: Tensor, rate: Tensor | None, key: Tensor | None) -> tuple[Any, Any]:
    """Rates and keys (replica,) as numpy arrays; zeros if there is no dropout."""
    if rate is None or key is None:
        return np.zeros(len(x), np.float32), np.zeros(len(x), np.int64)
    return rate.numpy(), key.numpy()


def apply_mask(x: Tensor, rate: Tensor, key: Tensor, row: int, pitch: int, begin: int = 0) -> Tensor:
    """Dropout of ``x`` (replica, ...) float32, as a new tensor.

    ``rate``, ``key``: (replica,). Rows of ``row`` elements are ``pitch`` positions apart in the mask; the first row
    starts at position ``begin``.
    """
    flat = x.detach().contiguous().view(x.shape[0], -1)
    out = torch.empty_like(flat)
    chunks = -(-flat.shape[1] // CHUNK) * flat.shape[0]
    scale = (1 / (1 - rate)).numpy()
    if row == pitch:
        row = pitch = max(1, flat.shape[1])  # all positions follow each other
    for_each_chunk(
        _apply, chunks, CHUNK, row, pitch, begin, flat.numpy(), rate.numpy(), scale, key.numpy(), out.numpy()
    )
    return out.view(x.shape)
