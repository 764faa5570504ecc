"""What follows a linear layer, in one pass where there is a kernel: its bias, dropout, a residual, layer normalization.

And the same for a hidden layer: its bias, the activation, dropout. On CUDA the time of these is that of reading and
writing them, so each tensor is read once and written once. The reference is the composition of the parts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from model.dropout import hash_dropout
from model.kernels.backend import fused_backend

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "gelu": F.gelu, "leaky_relu": F.leaky_relu}


class Mask(NamedTuple):
    """What dropout draws: ``rate`` and ``key`` (replica,), and the positions from one row of x (axis 1) to the next."""

    rate: Tensor
    key: Tensor
    pitch: int


def normed_sum(
    x: Tensor,
    gain: Tensor,
    shift: Tensor,
    eps: float,
    bias: Tensor | None = None,
    mask: Mask | None = None,
    residual: Tensor | None = None,
    backend: str = "auto",
) -> Tensor:
    """LN(dropout(x + bias) + residual) * gain + shift over the channels of x (replica, batch, ..., channel).

    ``gain``, ``shift`` and ``bias`` are (replica, channel), ``residual`` has x's shape, ``mask`` None drops nothing.
    ``backend``: auto | reference | triton; the kernel computes in float32 and returns that. Gradients go to all but the
    mask. Raises ``ValueError`` for a backend that cannot run here.
    """
    if _chosen("normed_sum", backend, x) == "reference":
        total = _dropped(x if bias is None else x + _wide(bias, x), mask)
        total = total if residual is None else total + residual
        return torch.addcmul(_wide(shift, x), F.layer_norm(total, total.shape[-1:], eps=eps), _wide(gain, x))
    result: Tensor = _NormedSum.apply(x, gain, shift, bias, residual, mask, eps)
    return result


def activated(x: Tensor, bias: Tensor, activation: str, mask: Mask | None = None, backend: str = "auto") -> Tensor:
    """dropout(activation(x + bias)); x (replica, batch, ..., channel) -> same, ``bias`` (replica, channel).

    ``activation``: relu | gelu | leaky_relu. ``mask`` and ``backend`` as in ``normed_sum``.
    """
    if _chosen("activated", backend, x) == "reference":
        return _dropped(ACTIVATIONS[activation](x + _wide(bias, x)), mask)
    result: Tensor = _Activated.apply(x, bias, activation, mask)
    return result


def _chosen(operation: str, backend: str, x: Tensor) -> str:
    """``reference`` or ``triton``; a CPU has no kernel of its own for these."""
    found = fused_backend(operation, backend, x.device, x.dtype)
    return "reference" if found == "cpu" or x.numel() == 0 else found


def _wide(part: Tensor, x: Tensor) -> Tensor:
    return part.view(-1, *[1] * (x.dim() - 2), x.shape[-1])


def _dropped(x: Tensor, mask: Mask | None) -> Tensor:
    return x if mask is None else hash_dropout(x, mask.rate, mask.key, row_pitch=mask.pitch)


def _tokens(x: Tensor) -> tuple[Tensor, int]:
    """x as (replica, tokens, channel), and the tokens of a row."""
    length = x.shape[2:-1].numel()
    return x.reshape(x.shape[0], -1, x.shape[-1]).contiguous(), length


class _NormedSum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, gain: Tensor, shift: Tensor, bias: Tensor | None, residual: Tensor | None,
        mask: Mask | None, eps: float,
    ) -> Tensor:  # fmt: skip
        from model.kernels import norm_triton

        flat, length = _tokens(x)
        rest = None if residual is None else _tokens(residual)[0]
        rate, key, pitch = mask or (None, None, length * x.shape[-1])
        out, mean, scale = norm_triton.forward(flat, bias, rest, gain, shift, rate, key, length, pitch, eps)
        ctx.save_for_backward(flat, bias, rest, gain, rate, key, mean, scale)
        ctx.shape, ctx.length, ctx.pitch = x.shape, length, pitch
        return out.view(x.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
        from model.kernels import norm_triton

        x, bias, residual, gain, rate, key, mean, scale = ctx.saved_tensors
        dx, dresidual, shares = norm_triton.backward(
            _tokens(dout)[0], x, bias, residual, gain, rate, key, mean, scale, ctx.length, ctx.pitch
        )
        dgain, dshift, dbias = shares.unbind(1)
        return (
            dx.view(ctx.shape), dgain, dshift, None if bias is None else dbias.to(bias.dtype),
            None if dresidual is None else dresidual.view(ctx.shape), None, None,
        )  # fmt: skip


class _Activated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor, activation: str, mask: Mask | None) -> Tensor:
        from model.kernels import activation_triton

        flat, length = _tokens(x)
        rate, key, pitch = mask or (None, None, length * x.shape[-1])
        ctx.save_for_backward(flat, bias, rate, key)
        ctx.shape, ctx.length, ctx.pitch, ctx.activation = x.shape, length, pitch, activation
        return activation_triton.forward(flat, bias, activation, rate, key, length, pitch).view(x.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
        from model.kernels import activation_triton

        x, bias, rate, key = ctx.saved_tensors
        dx, dbias = activation_triton.backward(
            _tokens(dout)[0], x, bias, ctx.activation, rate, key, ctx.length, ctx.pitch
        )
        return dx.view(ctx.shape), dbias.to(bias.dtype), None, None
