"""Tensors as evenly spaced rows, so that kernels can take a slice of a projection's output without a copy.

The *pitch* is the number of elements from the start of one row to the start of the next.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor


class RowLayout(NamedTuple):
    """Where the tokens of a tensor (replica, tokens, channel) lie in a dropout mask.

    ``length``  tokens of a row.
    ``gap``     unused positions of the mask after each row.
    ``begin``   the position of the first element.
    """

    length: int
    gap: int
    begin: int


def tokens(x: Tensor) -> Tensor:
    """x (replica, batch, ..., channel) as (replica, tokens, channel), contiguous and detached from autograd."""
    return x.detach().reshape(x.shape[0], -1, x.shape[-1]).contiguous()


def pitched(tensor: Tensor) -> tuple[Tensor, int]:
    """``tensor`` (..., width) and the pitch of its rows. A row is one index of all axes but the last.

    A tensor with evenly spaced rows is returned as it is; any other is made contiguous.
    """
    width = tensor.shape[-1]
    pitch = expected = 0
    for size, stride in zip(reversed(tensor.shape[:-1]), reversed(tensor.stride()[:-1]), strict=True):
        if size == 1:
            continue
        if pitch == 0:
            pitch = expected = stride
        if stride != expected:
            return tensor.contiguous(), width
        expected *= size
    if pitch == 0:
        pitch = width
    if pitch < width or (width > 1 and tensor.stride(-1) != 1):
        return tensor.contiguous(), width
    return tensor, pitch


def flat_array(tensor: Tensor) -> tuple[Any, int]:
    """A flat numpy view of ``tensor``, and the pitch of its rows: element c of row r is at r * pitch + c."""
    tensor, pitch = pitched(tensor.detach())
    rows = tensor.numel() // max(1, tensor.shape[-1])
    span = (rows - 1) * pitch + tensor.shape[-1] if tensor.numel() else 0
    return torch.as_strided(tensor, (span,), (1,), tensor.storage_offset()).numpy(), pitch
