"""The calls that are timed: this project's kernels by backend, and the function of mamba-ssm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mdaf.model.ops.causal_conv import causal_conv
from mdaf.model.ops.hash_dropout import hash_dropout
from mdaf.model.scan import selective_scan

LIBRARY = "mamba-ssm in its own layout"
BACKENDS = {
    "selective scan": ("reference", "chunked", "cpu", "triton", "mamba_ssm", LIBRARY),
    "convolution": ("reference", "cpu", "triton"),
    "dropout": ("reference", "cpu"),
}


@dataclass(frozen=True)
class Shape:
    """The tensors of one call, and how often it is timed."""

    replica: int
    batch: int
    length: int
    channel: int
    state: int
    bfloat16: bool
    device: str
    repeats: int


def call_of(operation: str, backend: str, shape: Shape) -> tuple[Callable[[], Tensor], list[Tensor]]:
    """The call to time, and the tensors that it gives gradients to."""
    generator = torch.Generator().manual_seed(0)
    sequence = torch.bfloat16 if shape.bfloat16 else torch.float32
    rows = (shape.replica, shape.batch, shape.length)

    def leaf(*size: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.randn(*size, generator=generator).to(shape.device, dtype).requires_grad_()

    x = leaf(*rows, shape.channel, dtype=sequence)
    arguments: dict[str, Any] = {"x": x}
    if operation == "dropout":
        rate = torch.full((shape.replica,), 0.2, device=shape.device)
        key = torch.arange(shape.replica, device=shape.device)
        return lambda: hash_dropout(x, rate, key, backend), [x]
    if operation == "convolution":
        arguments |= {"weight": leaf(shape.replica, shape.channel, 4), "bias": leaf(shape.replica, shape.channel)}
        return lambda: causal_conv(**arguments, backend=backend), list(arguments.values())
    arguments |= {name: leaf(*rows, shape.channel, dtype=sequence) for name in ("delta", "z")}
    arguments |= {name: leaf(*rows, shape.state, dtype=sequence) for name in ("B", "C")}
    arguments |= {name: leaf(shape.replica, shape.channel) for name in ("D", "delta_bias")}
    arguments["A"] = (-leaf(shape.replica, shape.channel, shape.state).detach().exp()).requires_grad_()
    return lambda: selective_scan(**arguments, backend=backend), list(arguments.values())


def library_call(shape: Shape) -> tuple[Callable[[], Tensor], list[Tensor]]:
    """mamba-ssm's own function on one replica's tensors in its own layout; raises ImportError where it is missing."""
    from mamba_ssm.ops.selective_scan_interface import selective_scan_fn

    dtype = torch.bfloat16 if shape.bfloat16 else torch.float32

    def leaf(*size: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.randn(*size, device=shape.device, dtype=dtype).requires_grad_()

    x, delta, z = (leaf(shape.batch, shape.channel, shape.length, dtype=dtype) for _ in range(3))
    B, C = (leaf(shape.batch, shape.state, shape.length, dtype=dtype) for _ in range(2))
    A = (-leaf(shape.channel, shape.state).detach().exp()).requires_grad_()
    D, bias = leaf(shape.channel), leaf(shape.channel)
    call = lambda: selective_scan_fn(x, delta, A, B, C, D, z, bias, delta_softplus=True)  # noqa: E731
    return call, [x, delta, z, B, C, A, D, bias]
