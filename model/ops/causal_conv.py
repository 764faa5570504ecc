"""The causal depthwise convolution and SiLU of a Mamba block, fused. Time is the second to last axis throughout."""

from __future__ import annotations

import importlib

import torch
import torch.nn.functional as F
from torch import Tensor

from mdaf.model.kernels.backend import fused_backend

__all__ = ["causal_conv"]


def causal_conv(
    x: Tensor, weight: Tensor, bias: Tensor, lengths: Tensor | None = None, backend: str = "auto"
) -> Tensor:
    """y_t = SiLU(bias + sum_k weight[k] x[t - width + 1 + k]), with x = 0 before the first position.

    ``x``        (replica, batch, length, channel). A slice of a wider tensor's last axis is read without a copy.
    ``weight``   (replica, channel, width).
    ``bias``     (replica, channel).
    ``lengths``  (replica, batch) int64: the number of valid positions of each row, which come first. Later positions
                 are not read, their result is 0, and so is their gradient.
    ``backend``  auto | reference | cpu | triton.

    Returns the shape and type of x. Raises ``ValueError`` for shapes that do not fit and for a backend that cannot run
    here.
    """
    _check_shapes(x, weight, bias, lengths)
    chosen = fused_backend("causal_conv", backend, x.device, x.dtype)
    if chosen == "reference" or x.numel() == 0:
        return _reference(x, weight, bias, lengths)
    kernel = importlib.import_module(f"mdaf.model.kernels.conv_{chosen}")
    return kernel.causal_conv(x, weight, bias, lengths)


def _reference(x: Tensor, weight: Tensor, bias: Tensor, lengths: Tensor | None) -> Tensor:
    length, width = x.shape[2], weight.shape[2]
    zero = torch.zeros((), dtype=x.dtype, device=x.device)
    valid = None
    if lengths is not None:
        valid = (torch.arange(length, device=x.device) < lengths[..., None])[..., None]
        x = torch.where(valid, x, zero)
    past = F.pad(x, (0, 0, width - 1, 0))
    total = bias[:, None, None, :] + sum(past[:, :, k : k + length] * weight[:, None, None, :, k] for k in range(width))
    y = F.silu(total).to(x.dtype)
    return y if valid is None else torch.where(valid, y, zero)


def _check_shapes(x: Tensor, weight: Tensor, bias: Tensor, lengths: Tensor | None) -> None:
    if x.dim() != 4 or weight.dim() != 3:
        raise ValueError(
            f"causal_conv: x has shape {tuple(x.shape)} and weight {tuple(weight.shape)}, "
            "expected (replica, batch, length, channel) and (replica, channel, width)"
        )
    replica, batch, _, channel = x.shape
    expected = {
        "weight": (weight, (replica, channel, weight.shape[2])),
        "bias": (bias, (replica, channel)),
        "lengths": (lengths, (replica, batch)),
    }
    for name, (tensor, shape) in expected.items():
        if tensor is not None and tuple(tensor.shape) != shape:
            raise ValueError(f"causal_conv: {name} has shape {tuple(tensor.shape)}, expected {shape} to fit x")
