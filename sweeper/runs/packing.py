"""Nested tensors as a few long ones: what is copied, hashed and written in one go rather than in hundreds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor


def pack(value: Any) -> dict[str, Any]:
    """Containers and, apart from them, all that the tensors in them hold, copied once.

    ``form``    mappings, lists and plain values, with its shape in the place of each tensor
    ``numbers`` in which of the values each tensor lies, in the order of the form
    ``values``  (element,) for each type of tensors, on their device: theirs, one after another
    """
    tensors: list[Tensor] = []
    form = form_of(value, tensors)
    types = list(dict.fromkeys(tensor.dtype for tensor in tensors))
    parts: list[list[Tensor]] = [[] for _ in types]
    numbers = tuple(types.index(tensor.dtype) for tensor in tensors)
    for number, tensor in zip(numbers, tensors, strict=True):
        parts[number].append(tensor.detach().reshape(-1))
    return {"form": form, "numbers": numbers, "values": [torch.cat(part) for part in parts]}


def unpack(packed: Mapping[str, Any]) -> Any:
    """What was packed; its tensors are views of the values. RuntimeError if these are not as long as the form says."""
    values, numbers = packed["values"], iter(packed["numbers"])
    ends = [0] * len(values)

    def view(shape: torch.Size) -> Tensor:
        number = next(numbers)
        begin = ends[number]
        ends[number] += shape.numel()
        part: Tensor = values[number][begin : ends[number]]
        return part.view(shape)

    return replaced(packed["form"], torch.Size, view)


def form_of(value: Any, tensors: list[Tensor]) -> Any:
    """``value`` with its shape in the place of each tensor, which is added to ``tensors``."""

    def shape(tensor: Tensor) -> torch.Size:
        tensors.append(tensor)
        return tensor.shape

    return replaced(value, Tensor, shape)


def replaced(value: Any, kind: type, replace: Callable[[Any], Any]) -> Any:
    """Nested mappings and lists with what ``replace`` returns for each value of a kind, in order."""
    if isinstance(value, kind):
        return replace(value)
    if isinstance(value, dict):
        return {key: replaced(part, kind, replace) for key, part in value.items()}
    if isinstance(value, list):
        return [replaced(part, kind, replace) for part in value]
    return value
