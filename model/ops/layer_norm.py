"""The operations that follow a linear layer, fused into one kernel. ``mdaf.model.layers.basic`` uses them.

``normed_sum``  bias, dropout, residual and layer normalization.
``activated``   bias, activation and dropout, for a hidden layer.

Their time is spent on memory access, so a fused kernel reads and writes each tensor once. The reference is the
composition of the single operations.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from mdaf.model.kernels.backend import chosen_for
from mdaf.model.kernels.rows import tokens
from mdaf.model.ops.hash_dropout import Mask, drawn, dropped

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "gelu": F.gelu, "leaky_relu": F.leaky_relu}


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

    ``gain``, ``shift``, ``bias``  (replica, channel); without ``bias`` nothing is added.
    ``residual``                   a tensor of x's shape; without it nothing is added.
    ``mask``                       the dropout mask; None for no dropout.
    ``dtype``                      the type of the result; default float32.
    ``backend``                    auto | reference | cpu | triton. Kernels compute in float32.

    LN(v) = (v - mean(v)) / sqrt(variance(v) + eps) (arXiv 1607.06450). The result has the shape of x. All tensors but
    the mask receive gradients. Raises ``ValueError`` for a backend that cannot run here.
    """
    chosen = chosen_for("normed_sum", backend, x)
    if chosen == "reference":
        total = dropped(x if bias is None else x + _broadcast(bias, x), mask)
        total = total if residual is None else total + residual
        y = torch.addcmul(_broadcast(shift, x), F.layer_norm(total, total.shape[-1:], eps=eps), _broadcast(gain, x))
        return y if dtype is None else y.to(dtype)
    result: Tensor = _NormedSum.apply(x, gain, shift, bias, residual, mask, eps, dtype or torch.float32, chosen)
    return result


def activated(x: Tensor, bias: Tensor, activation: str, mask: Mask | None = None, backend: str = "auto") -> Tensor:
    """dropout(activation(x + bias)): x (replica, batch, ..., channel) -> same shape; ``bias`` (replica, channel).

    ``activation``: relu | gelu | leaky_relu. ``mask``, ``backend`` and errors are as in ``normed_sum``.
    """
    chosen = chosen_for("activated", backend, x)
    if chosen == "reference":
        return dropped(ACTIVATIONS[activation](x + _broadcast(bias, x)), mask)
    result: Tensor = _Activated.apply(x, bias, activation, mask, chosen)
    return result


def _broadcast(part: Tensor, x: Tensor) -> Tensor:
    return part.view(-1, *[1] * (x.dim() - 2), x.shape[-1])


class _NormedSum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, gain: Tensor, shift: Tensor, bias: Tensor | None, residual: Tensor | None,
        mask: Mask | None, eps: float, dtype: torch.dtype, backend: str,
    ) -> Tensor:  # fmt: skip
        flat = tokens(x)
        rest = None if residual is None else tokens(residual)
        rate, key, layout = drawn(mask, x)
        ctx.kernel = importlib.import_module(f"mdaf.model.kernels.norm_{backend}")
        out, mean, scale = ctx.kernel.forward(flat, bias, rest, gain, shift, rate, key, layout, eps, dtype)
        ctx.save_for_backward(flat, bias, rest, gain, rate, key, mean, scale)
        ctx.shape, ctx.layout = x.shape, layout
        return out.view(x.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
        x, bias, residual, gain, rate, key, mean, scale = ctx.saved_tensors
        dx, dresidual, shares = ctx.kernel.backward(
            tokens(dout), x, bias, residual, gain, rate, key, mean, scale, ctx.layout
        )
        dgain, dshift, dbias = shares.unbind(1)
        return (
            dx.view(ctx.shape), dgain, dshift, None if bias is None else dbias.to(bias.dtype),
            None if dresidual is None else dresidual.view(ctx.shape), None, None, None, None,
        )  # fmt: skip


class _Activated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor, activation: str, mask: Mask | None, backend: str) -> Tensor:
        flat = tokens(x)
        rate, key, layout = drawn(mask, x)
        ctx.save_for_backward(flat, bias, rate, key)
        ctx.kernel = importlib.import_module(f"mdaf.model.kernels.activation_{backend}")
        ctx.shape, ctx.layout, ctx.activation = x.shape, layout, activation
        out: Tensor = ctx.kernel.forward(flat, bias, activation, rate, key, layout)
        return out.view(x.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
        x, bias, rate, key = ctx.saved_tensors
        dx, dbias = ctx.kernel.backward(tokens(dout), x, bias, ctx.activation, rate, key, ctx.layout)
        return dx.view(ctx.shape), dbias.to(bias.dtype), None, None, None
