"""The selective scan by the CUDA kernel of the library mamba-ssm, if the library is installed and can be imported."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from mdaf.model.scan.reference import keep_valid, valid_positions


@cache
def _library_scan() -> Callable[..., Tensor] | str:
    """The library's function, or why it cannot be imported. It needs Triton and its own compiled extension."""
    try:
        from mamba_ssm.ops.selective_scan_interface import selective_scan_fn
    except Exception as error:
        return f"mamba-ssm does not import ({type(error).__name__}: {error})"
    return selective_scan_fn


def obstacle(device: torch.device, dtype: torch.dtype) -> str | None:
    """Why the library cannot take tensors of this device and type, or None if it can."""
    if device.type != "cuda":
        return f"it needs CUDA, the tensors are on {device.type}"
    if dtype == torch.float64:
        return "it computes in float32, the tensors are float64"
    library = _library_scan()
    return library if isinstance(library, str) else None


def scan(
    x: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    z: Tensor | None,
    lengths: Tensor | None,
    delta_bias: Tensor | None,
) -> Tensor:
    """Arguments and result as in ``mdaf.model.scan.selective_scan``.

    The library is called once for each replica, because its kernel takes one ``A`` for a whole batch.
    """
    library = _library_scan()
    if isinstance(library, str):
        raise ValueError(f"model.scan=mamba_ssm cannot run here: {library}; use model.scan=auto")
    valid = valid_positions(lengths, x)
    dtype = x.dtype
    # The library expects (batch, channel, time), and all sequences in one type.
    sequences = [None if s is None else keep_valid(valid, s).to(dtype) for s in (x, delta, B, C, z)]
    results = []
    for r in range(x.shape[0]):
        x_r, delta_r, B_r, C_r, z_r = (None if s is None else s[r].transpose(1, 2).contiguous() for s in sequences)
        bias = None if delta_bias is None else delta_bias[r].float()
        y = library(x_r, delta_r, A[r].float(), B_r, C_r, D[r].float(), z_r, bias, delta_softplus=True)
        results.append(y.transpose(1, 2))
    return keep_valid(valid, torch.stack(results)).to(dtype)
