"""Columns from which batches are gathered: resident on a device, or in memory-mapped files."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from mdaf.data.schema import PADDING
from mdaf.data.store.arrays import parts_of, read_part, refuse_cut
from mdaf.hardware import gpus


class Column(Protocol):
    """Values that are taken by position. The position after the last value holds ``PADDING``."""

    def take(self, position: torch.Tensor) -> torch.Tensor:
        """The values at positions of any shape, int32 of that shape."""


@dataclass(frozen=True)
class Resident:
    """A column on a device, with its padding."""

    values: torch.Tensor

    @classmethod
    def of(cls, array: np.ndarray, convert: Callable[[np.ndarray], np.ndarray], device: torch.device) -> Resident:
        """A column of ``convert(array)``, int32."""
        padded = np.empty(len(array) + 1, dtype=np.int32)
        for part in parts_of(len(array)):
            padded[part] = convert(read_part(array, part))
        padded[-1] = PADDING
        return cls(torch.from_numpy(padded).to(device))

    def take(self, position: torch.Tensor) -> torch.Tensor:
        """See ``Column``; positions are on the column's device."""
        return self.values.index_select(0, position.reshape(-1)).view(position.shape)


@dataclass(frozen=True)
class Mapped:
    """A column in its file. Only values that are taken are read and converted."""

    array: np.ndarray
    convert: Callable[[np.ndarray], np.ndarray]

    def take(self, position: torch.Tensor) -> torch.Tensor:
        """See ``Column``; positions are on the CPU."""
        flat = position.numpy().reshape(-1)
        taken = np.full(len(flat), PADDING, dtype=np.int32)
        refuse_cut(self.array)
        inside = flat < len(self.array)
        taken[inside] = self.convert(self.array[flat[inside]])
        return torch.from_numpy(taken).view(position.shape)


def device_bytes(device: torch.device) -> int:
    """The size of a device's memory; of a GPU that several processes were given, this one's part."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory) // gpus.shared_by()
    if device.type == "mps":
        return torch.mps.recommended_max_memory()
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
