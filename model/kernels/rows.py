"""Tensors as rows with a pitch, so that a slice of a projection's output goes into a kernel without a copy."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor


class RowLayout(NamedTuple):
    """Where in a dropout mask the tokens of a tensor (replica, tokens, channel) lie.

    Rows of ``length`` tokens are ``gap`` positions farther apart than they are long; the first is at ``begin``.
    """

    length: int
    gap: int
    begin: int


def tokens(x: Tensor) -> Tensor:
    """x (replica, batch, ..., channel) as (replica, tokens, channel), contiguous, without its history."""
    return x.detach().reshape(x.shape[0], -1, x.shape[-1]).contiguous()


def pitched(tensor: Tensor) -> tuple[Tensor, int]:
    """``tensor`` (..., width) and its pitch: the elements from one row (a position of the leading axes) to the next.

    A tensor whose rows lie evenly apart is returned as it is; any other is made contiguous.
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
    """A flat numpy view of ``tensor``'s rows and their pitch: element c of row r stands at r * pitch + c."""
    tensor, pitch = pitched(tensor.detach())
    rows = tensor.numel() // max(1, tensor.shape[-1])
    span = (rows - 1) * pitch + tensor.shape[-1] if tensor.numel() else 0
    return torch.as_strided(tensor, (span,), (1,), tensor.storage_offset()).numpy(), pitch
