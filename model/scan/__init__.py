"""The selective scan of Mamba-1, fused with softplus, the skip connection and the gate, with several backends.

``mdaf.model.layers.mamba`` calls ``selective_scan`` for all positions, or ``last_output`` for the last one only. The
other files of this folder are the backends.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable

import torch
from torch import Tensor

from mdaf.model.kernels.backend import cpu_obstacle, reference_only, triton_obstacle
from mdaf.model.ops.positions import take_position

__all__ = ["BACKENDS", "choose_backend", "last_output", "selective_scan"]

#: ``auto``       picks by device and by what is installed.
#: ``reference``  the equations in PyTorch, one step at a time.
#: ``chunked``    the same in bounded memory, for devices without a kernel of their own (MPS).
#: ``cpu``        numba kernels.
#: ``triton``     CUDA kernels of this project.
#: ``mamba_ssm``  the CUDA kernel of the library mamba-ssm.
BACKENDS = ("auto", "reference", "chunked", "cpu", "triton", "mamba_ssm")

Scan = Callable[..., Tensor]


def selective_scan(
    x: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    z: Tensor | None = None,
    lengths: Tensor | None = None,
    delta_bias: Tensor | None = None,
    backend: str = "auto",
) -> Tensor:
    """The selective state space of Mamba (arXiv 2312.00752, section 3).

    h_t = exp(dt_t A) h_{t-1} + dt_t B_t x_t and y_t = C_t . h_t + D x_t, with dt = softplus(delta + delta_bias). The
    result is y, or y * SiLU(z) if ``z`` is given, in the shape and type of ``x``.

    ``x``, ``delta``, ``z``  (replica, batch, length, channel).
    ``A``                    (replica, channel, state).
    ``B``, ``C``             (replica, batch, length, state).
    ``D``, ``delta_bias``    (replica, channel).
    ``lengths``              (replica, batch) int64: the number of valid positions of each row, which come first. Later
                             positions are not read, their result is 0, and so is their gradient.
    ``backend``              one of ``BACKENDS``.

    All backends take float32 and bfloat16, and keep the state in float32. ``reference`` and ``chunked`` also take
    float64. A slice of a wider tensor's last axis is read without a copy.

    Raises ``ValueError`` for shapes that do not fit and for a backend that cannot run here.
    """
    _check_shapes(x, delta, A, B, C, D, z, lengths, delta_bias)
    scan = _load(choose_backend(backend, x.device, x.dtype))
    return scan(x, delta, A, B, C, D, z, lengths, delta_bias)


def last_output(
    x: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    lengths: Tensor | None = None,
    delta_bias: Tensor | None = None,
    backend: str = "auto",
) -> Tensor:
    """``selective_scan`` without a gate, at the last valid position of each row only: (replica, batch, channel).

    ``C`` (replica, batch, state) belongs to that position; all other arguments are as in ``selective_scan``. The result
    of a row without valid positions is 0. ``triton`` and ``cpu`` have kernels for this case; other backends run the
    whole scan. Raises ``ValueError`` as ``selective_scan`` does.
    """
    wide = C.unsqueeze(2).expand(-1, -1, x.shape[2], -1)
    _check_shapes(x, delta, A, B, wide, D, None, lengths, delta_bias)
    chosen = choose_backend(backend, x.device, x.dtype)
    if chosen in ("triton", "cpu"):
        fused: Scan = importlib.import_module(f"mdaf.model.scan.last_{chosen}").last_output
        return fused(x, delta, A, B, C, D, lengths, delta_bias)
    outputs = _load(chosen)(x, delta, A, B, wide, D, None, lengths, delta_bias)
    if lengths is None or x.shape[2] == 0:
        return outputs[:, :, -1] if x.shape[2] else x.new_zeros(x.shape[0], x.shape[1], x.shape[3])
    return take_position(outputs, (lengths - 1).clamp(min=0)).squeeze(2)


def choose_backend(backend: str, device: torch.device, dtype: torch.dtype = torch.float32) -> str:
    """The backend that ``backend`` stands for on ``device``. Raises ``ValueError`` if it cannot run there.

    Where only references are used it is ``traced``, the reference whose length may be dynamic.
    """
    if backend not in BACKENDS:
        raise ValueError(f"model.scan={backend}: unknown backend, expected one of {', '.join(BACKENDS)}")
    if reference_only():
        return "traced"
    if backend == "auto":
        preferred = {"cuda": ("triton", "mamba_ssm"), "cpu": ("cpu", "reference")}.get(device.type, ())
        return next((name for name in preferred if _obstacle(name, device, dtype) is None), "chunked")
    if obstacle := _obstacle(backend, device, dtype):
        raise ValueError(f"model.scan={backend} cannot run here: {obstacle}; use model.scan=auto")
    return backend


def _obstacle(backend: str, device: torch.device, dtype: torch.dtype) -> str | None:
    """Why ``backend`` cannot run on tensors of this device and type, or None if it can."""
    if backend == "cpu":
        return cpu_obstacle(device, dtype)
    if backend == "triton":
        return triton_obstacle(device, dtype)
    if backend == "mamba_ssm":
        return importlib.import_module("mdaf.model.scan.mamba_ssm").obstacle(device, dtype)
    return None


def _load(backend: str) -> Scan:
    """The backend's function. Its module is imported on first use."""
    return importlib.import_module(f"mdaf.model.scan.{backend}").scan


def _check_shapes(
    x: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    z: Tensor | None,
    lengths: Tensor | None,
    delta_bias: Tensor | None,
) -> None:
    if x.dim() != 4 or A.dim() != 3:
        raise ValueError(
            f"selective_scan: x has shape {tuple(x.shape)} and A {tuple(A.shape)}, "
            "expected (replica, batch, length, channel) and (replica, channel, state)"
        )
    replica, batch, length, channel = x.shape
    state = A.shape[2]
    expected = {
        "delta": (delta, (replica, batch, length, channel)),
        "A": (A, (replica, channel, state)),
        "B": (B, (replica, batch, length, state)),
        "C": (C, (replica, batch, length, state)),
        "D": (D, (replica, channel)),
        "z": (z, (replica, batch, length, channel)),
        "lengths": (lengths, (replica, batch)),
        "delta_bias": (delta_bias, (replica, channel)),
    }
    for name, (tensor, shape) in expected.items():
        if tensor is not None and tuple(tensor.shape) != shape:
            raise ValueError(f"selective_scan: {name} has shape {tuple(tensor.shape)}, expected {shape} to fit x and A")
