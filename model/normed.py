"""What follows a linear layer, in one pass where there is a kernel: its bias, dropout, a residual, layer normalization.

And the same for a hidden layer: its bias, the activation, dropout. The time of these is that of reading and writing
them, so each tensor is read once and written once. The reference is the composition of the parts.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from model.dropout import Rows, hash_dropout
from model.kernels.backend import fused_backend
from model.kernels.rows import Place

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "gelu": F.gelu, "leaky_relu": F.leaky_relu}


class Mask(NamedTuple):
    """What dropout draws: ``rate`` and ``key`` (replica,), and where in the mask x lies.

    ``pitch``  positions from one row of x (axis 1) to the next; ``first``: the place within its batch of x's first row.
    """

    rate: Tensor
    key: Tensor
    pitch: int
    first: int = 0


def normed_sum(
    x: Tensor,
    gain: Tensor,
    shift: Tensor,
    eps: float,
    bias: Tensor | None = None,
    mask: Mask | None = None,
    residual: Tensor | None = None,
    dtype: torch.dtype | None = None,
    backend: str = "auto",
) -> Tensor:
    """LN(dropout(x + bias) + residual) * gain + shift over the channels of x (replica, batch, ..., channel).

    ``gain``, ``shift`` and ``bias`` are (replica, channel), ``residual`` has x's shape, ``mask`` None drops nothing.
    ``backend``: auto | reference | cpu | triton; a kernel computes in float32. The result has ``dtype``, float32 if
    none is given. Gradients go to all but the mask. Raises ``ValueError`` for a backend that cannot run here.
    """
    chosen = _chosen("normed_sum", backend, x)
    if chosen == "reference":
        total = _dropped(x if bias is None else x + _wide(bias, x), mask)
        total = total if residual is None else total + residual
        y = torch.addcmul(_wide(shift, x), F.layer_norm(total, total.shape[-1:], eps=eps), _wide(gain, x))
        return y if dtype is None else y.to(dtype)
    result: Tensor = _NormedSum.apply(x, gain, shift, bias, residual, mask, eps, dtype or torch.float32, chosen)
    return result


def activated(x: Tensor, bias: Tensor, activation: str, mask: Mask | None = None, backend: str = "auto") -> Tensor:
    """dropout(activation(x + bias)); x (replica, batch, ..., channel) -> same, ``bias`` (replica, channel).

    ``activation``: relu | gelu | leaky_relu. ``mask`` and ``backend`` as in ``normed_sum``.
    """
    chosen = _chosen("activated", backend, x)
    if chosen == "reference":
        return _dropped(ACTIVATIONS[activation](x + _wide(bias, x)), mask)
    result: Tensor = _Activated.apply(x, bias, activation, mask, chosen)
    return result


def _chosen(operation: str, backend: str, x: Tensor) -> str:
    """``reference``, ``cpu`` or ``triton``; the CPU's kernels take float32 alone."""
    found = fused_backend(operation, backend, x.device, x.dtype)
    return "reference" if x.numel() == 0 or (found == "cpu" and x.dtype != torch.float32) else found


def _wide(part: Tensor, x: Tensor) -> Tensor:
    return part.view(-1, *[1] * (x.dim() - 2), x.shape[-1])


def _dropped(x: Tensor, mask: Mask | None) -> Tensor:
    return x if mask is None else hash_dropout(x, mask.rate, mask.key, row_pitch=mask.pitch, first_row=mask.first)


def _tokens(x: Tensor) -> tuple[Tensor, int]:
    """x as (replica, tokens, channel), and the tokens of a row."""
    length = x.shape[2:-1].numel()
    return x.detach().reshape(x.shape[0], -1, x.shape[-1]).contiguous(), length


def _drawn(mask: Mask | None, x: Tensor, length: int) -> tuple[Tensor | None, Tensor | None, Place]:
    """Rate and key, and where in the mask a kernel finds the tokens of x, rows of ``length`` of them."""
    channels = x.shape[-1]
    if mask is None:
        return None, None, Place(length, 0, 0)
    rows = Rows(length * channels, mask.pitch, mask.first)
    return mask.rate, mask.key, Place(length, rows.pitch - rows.elements, rows.start)


class _NormedSum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, gain: Tensor, shift: Tensor, bias: Tensor | None, residual: Tensor | None,
        mask: Mask | None, eps: float, dtype: torch.dtype, backend: str,
    ) -> Tensor:  # fmt: skip
        flat, length = _tokens(x)
        rest = None if residual is None else _tokens(residual)[0]
        rate, key, place = _drawn(mask, x, length)
        ctx.kernel = importlib.import_module(f"model.kernels.norm_{backend}")
        out, mean, scale = ctx.kernel.forward(flat, bias, rest, gain, shift, rate, key, place, eps, dtype)
        ctx.save_for_backward(flat, bias, rest, gain, rate, key, mean, scale)
        ctx.shape, ctx.place = x.shape, place
        return out.view(x.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
        x, bias, residual, gain, rate, key, mean, scale = ctx.saved_tensors
        dx, dresidual, shares = ctx.kernel.backward(
            _tokens(dout)[0], x, bias, residual, gain, rate, key, mean, scale, ctx.place
        )
        dgain, dshift, dbias = shares.unbind(1)
        return (
            dx.view(ctx.shape), dgain, dshift, None if bias is None else dbias.to(bias.dtype),
            None if dresidual is None else dresidual.view(ctx.shape), None, None, None, None,
        )  # fmt: skip


class _Activated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor, activation: str, mask: Mask | None, backend: str) -> Tensor:
        flat, length = _tokens(x)
        rate, key, place = _drawn(mask, x, length)
        ctx.save_for_backward(flat, bias, rate, key)
        ctx.kernel = importlib.import_module(f"model.kernels.activation_{backend}")
        ctx.shape, ctx.place, ctx.activation = x.shape, place, activation
        out: Tensor = ctx.kernel.forward(flat, bias, activation, rate, key, place)
        return out.view(x.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
        x, bias, rate, key = ctx.saved_tensors
        dx, dbias = ctx.kernel.backward(_tokens(dout)[0], x, bias, ctx.activation, rate, key, ctx.place)
        return dx.view(ctx.shape), dbias.to(bias.dtype), None, None, None
