"""The part of a DCNv3 cross layer that follows its matrix product, fused into one kernel. ``mdaf.model.dcnv3`` uses it.

Without fusion it is a dozen GPU kernels forward and thirty backward, and launching each takes as long as running it.
The reference is that composition of operations.
"""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from mdaf.model.kernels.backend import chosen_for
from mdaf.model.kernels.rows import tokens
from mdaf.model.ops.hash_dropout import Mask, drawn, dropped
from mdaf.model.ops.layer_norm import normed_sum


def crossed(
    h: Tensor,
    x: Tensor,
    base: Tensor,
    gain: Tensor,
    shift: Tensor,
    bias: Tensor,
    eps: float,
    mask: Mask | None = None,
    dtype: torch.dtype | None = None,
    backend: str = "auto",
) -> Tensor:
    """dropout(x + base * (c + bias)) with c = [h, h * ReLU(LN(h) * gain + shift)] (DCNv3, arXiv 2407.13349).

    ``h``              (replica, batch, D/2): the layer's matrix product.
    ``x``, ``base``    (replica, batch, D); ``base`` may be ``x`` itself.
    ``gain``, ``shift`` (replica, D/2).
    ``bias``           (replica, D).
    ``mask``           the dropout mask; None for no dropout.
    ``dtype``          the type of the result; default float32.
    ``backend``        auto | reference | cpu | triton. Kernels compute in float32.

    Returns (replica, batch, D). All tensors but the mask receive gradients. Raises ``ValueError`` for a backend that
    cannot run here.
    """
    chosen = chosen_for("crossed", backend, h, x, base)
    if chosen == "reference":
        normal = normed_sum(h, gain, shift, eps, backend="reference")
        cross = torch.cat([h, h * F.relu(normal)], dim=-1)
        y = dropped(torch.addcmul(x, base, cross + bias.unsqueeze(1)), mask)
        return y if dtype is None else y.to(dtype)
    # If x is the base as well, it has one gradient, and the kernel adds both parts.
    other = None if base is x else base
    result: Tensor = _Crossed.apply(h, x, other, gain, shift, bias, mask, eps, dtype or torch.float32, chosen)
    return result


class _Crossed(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, h: Tensor, x: Tensor, base: Tensor | None, gain: Tensor, shift: Tensor, bias: Tensor,
        mask: Mask | None, eps: float, dtype: torch.dtype, backend: str,
    ) -> Tensor:  # fmt: skip
        rate, key, layout = drawn(mask, x)
        h, x, base = tokens(h), tokens(x), None if base is None else tokens(base)
        ctx.kernel = importlib.import_module(f"mdaf.model.kernels.cross_{backend}")
        ctx.save_for_backward(h, x if base is None else base, gain, shift, bias, rate, key)
        ctx.layout, ctx.eps, ctx.dtype, ctx.separate_base = layout, eps, x.dtype, base is not None
        out: Tensor = ctx.kernel.forward(h, x, base, gain, shift, bias, rate, key, layout, eps, dtype)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
        dh, dx, dbase, dgain, dshift, dbias = ctx.kernel.backward(
            tokens(dout), *ctx.saved_tensors, ctx.layout, ctx.eps, ctx.dtype, ctx.separate_base
        )
        return dh, dx, dbase, dgain, dshift, dbias, None, None, None, None
