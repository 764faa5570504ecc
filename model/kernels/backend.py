"""Decides which kernel computes an operation: by device, by type and by what is installed."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache

import torch
from torch import Tensor

#: Backends of a fused operation. ``reference`` computes the equations in PyTorch, ``cpu`` is numba, ``triton`` is CUDA.
#: ``auto`` picks by device and by what is installed.
FUSED_BACKENDS = ("auto", "reference", "cpu", "triton")

_REFERENCE_ONLY: ContextVar[bool] = ContextVar("reference_only", default=False)


@contextmanager
def reference_kernels() -> Iterator[None]:
    """Within this context every operation is computed in plain PyTorch, whatever backend it is asked for.

    A model is traced in it: what is exported calls no kernel of this project.
    """
    token = _REFERENCE_ONLY.set(True)
    try:
        yield
    finally:
        _REFERENCE_ONLY.reset(token)


def reference_only() -> bool:
    """Whether ``reference_kernels`` is in force."""
    return _REFERENCE_ONLY.get()


@cache
def installed(package: str) -> bool:
    """Whether ``package`` is installed. It is not imported."""
    return importlib.util.find_spec(package) is not None


def interpreting() -> bool:
    """Whether Triton's kernels run in its interpreter, on the CPU (TRITON_INTERPRET=1)."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def cpu_obstacle(device: torch.device, dtype: torch.dtype) -> str | None:
    """Why a numba kernel cannot take tensors of this device and type, or None if it can."""
    if device.type != "cpu":
        return f"its kernel runs on the CPU, the tensors are on {device.type}"
    if dtype == torch.float64:
        return "it computes in float32, the tensors are float64"
    return None if installed("numba") else "numba is not installed"


def triton_obstacle(device: torch.device, dtype: torch.dtype) -> str | None:
    """Why a Triton kernel cannot take tensors of this device and type, or None if it can."""
    if device.type != "cuda" and not (device.type == "cpu" and interpreting()):
        return f"it needs CUDA, the tensors are on {device.type}"
    if dtype == torch.float64:
        return "it computes in float32, the tensors are float64"
    return None if installed("triton") else "triton is not installed"


def fused_backend(operation: str, backend: str, device: torch.device, dtype: torch.dtype) -> str:
    """The backend that computes ``operation``: ``reference``, ``cpu`` or ``triton``.

    Raises ``ValueError`` if ``backend`` is unknown, or cannot take tensors of this device and type.
    """
    if backend not in FUSED_BACKENDS:
        raise ValueError(f"{operation}: unknown backend {backend}, expected one of {', '.join(FUSED_BACKENDS)}")
    if backend == "reference" or reference_only():
        return "reference"
    obstacles = {"cpu": cpu_obstacle, "triton": triton_obstacle}
    if backend == "auto":
        preferred = {"cuda": "triton", "cpu": "cpu"}.get(device.type)
        return preferred if preferred and obstacles[preferred](device, dtype) is None else "reference"
    if obstacle := obstacles[backend](device, dtype):
        raise ValueError(f"{operation}: backend {backend} cannot run here: {obstacle}; use auto")
    return backend


def chosen_for(operation: str, backend: str, x: Tensor, *others: Tensor) -> str:
    """``fused_backend`` for these tensors; ``reference`` if ``x`` is empty.

    Use it for operations whose CPU kernel takes float32 only. On a CPU, other types go to the reference.
    """
    found = fused_backend(operation, backend, x.device, x.dtype)
    if found == "reference":
        return found
    wide = all(tensor.dtype == torch.float32 for tensor in (x, *others))
    return "reference" if x.numel() == 0 or (found == "cpu" and not wide) else found
