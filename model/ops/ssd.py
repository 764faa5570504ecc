"""State space duality: the recurrence of Mamba-2 as matrix products (arXiv 2405.21060, section 6).

h_t = exp(dt_t A) h_(t-1) + dt_t B_t x_t^T and y_t = h_t^T C_t, with one scalar A for each head. Unrolled, this is
attention without a softmax: y = (M o C B^T) (dt x) with M_ts = exp(A (dt_(s+1) + ... + dt_t)) for s <= t, 0 otherwise.
Within a chunk of positions that product is computed; from chunk to chunk the state h is carried. Used by
``mdaf.model.layers.mamba2``.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from mdaf.model.kernels.backend import reference_only


def ssd(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, chunk: int) -> Tensor:
    """y (replica, batch, length, head, width) of all positions.

    ``x``         (replica, batch, length, head, width).
    ``dt``        (replica, batch, length, head) float32, positive.
    ``A``         (replica, head) float32, negative.
    ``B``, ``C``  (replica, batch, length, state), the same for all heads.
    ``chunk``     positions that one product computes; only the rounding depends on it.
    """
    length = x.shape[2]
    inputs = (dt.unsqueeze(-1) * x).transpose(2, 3)  # (replica, batch, head, length, width)
    log_decay = (dt * A[:, None, None]).transpose(2, 3)
    if reference_only():  # one chunk, since a traced length is not known
        return _within(inputs, _prefix_sums(log_decay), B.unsqueeze(2), C.unsqueeze(2)).transpose(2, 3)
    chunk = min(chunk, length)
    missing = -length % chunk
    inputs, B, C = (F.pad(t, (0, 0, 0, missing)).unflatten(-2, (-1, chunk)) for t in (inputs, B, C))
    total = _prefix_sums(F.pad(log_decay, (0, missing)).unflatten(-1, (-1, chunk)))  # (..., head, chunks, position)
    B, C = B.unsqueeze(2), C.unsqueeze(2)
    y = _within(inputs, total, B, C)
    if y.shape[3] > 1:
        to_end = (total[..., -1:] - total).exp().unsqueeze(-1)
        states = B.mT @ (to_end * inputs)  # what each chunk adds: (..., head, chunks, state, width)
        whole = total[..., -1].exp()[..., None, None]
        carried = [torch.zeros_like(states[:, :, :, 0])]
        for c in range(y.shape[3] - 1):
            carried.append(whole[:, :, :, c] * carried[-1] + states[:, :, :, c])
        y = y + total.exp().unsqueeze(-1) * (C @ torch.stack(carried, dim=3))
    return y.flatten(3, 4)[:, :, :, :length].transpose(2, 3)


def _within(inputs: Tensor, total: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """The product M o C B^T times ``inputs`` (..., position, width) of single chunks: (..., position, width).

    ``total``     (..., position): prefix sums of dt A.
    ``B``, ``C``  (..., position, state).
    """
    position = torch.arange(inputs.shape[-2], device=inputs.device)
    between = total.unsqueeze(-1) - total.unsqueeze(-2)
    ahead = position > position.unsqueeze(-1)
    return ((C @ B.mT) * between.masked_fill(ahead, float("-inf")).exp().float()) @ inputs


def ssd_at(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, position: Tensor) -> Tensor:
    """``ssd`` at one ``position`` (replica, batch) of each sequence: (replica, batch, 1, head, width).

    ``C`` (replica, batch, 1, state) belongs to that position; all other arguments are as in ``ssd``. The time is linear
    in the length.
    """
    total = _prefix_sums((dt * A[:, None, None]).transpose(2, 3))  # (replica, batch, head, length)
    there = total.gather(-1, position[..., None, None].expand(-1, -1, total.shape[2], -1))
    ahead = torch.arange(x.shape[2], device=x.device) > position[..., None, None]
    decay = (there - total).masked_fill(ahead, float("-inf")).exp()
    weights = (C @ B.mT) * decay.float() * dt.transpose(2, 3)
    y = weights.unsqueeze(-2) @ x.transpose(2, 3)  # (replica, batch, head, 1, width)
    return y.transpose(2, 3)


def _prefix_sums(a: Tensor) -> Tensor:
    """Inclusive prefix sums along the last axis, in float32; in float64 where only references are used.

    They are a product with a triangular matrix, whose order of additions is fixed. CUDA's cumsum does not promise that.
    A single chunk has longer sums than the chunks of a training step: float64 keeps their differences exact.
    """
    if reference_only():
        return a.double().cumsum(-1)
    triangle = torch.ones(a.shape[-1], a.shape[-1], device=a.device).triu()
    with torch.autocast(a.device.type, enabled=False):
        return a.float() @ triangle
