"""Packs nested tensors into a few long ones, so that hundreds of tensors are copied, hashed and written at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor


def pack(value: Any) -> dict[str, Any]:
    """Separates nested containers from the elements of their tensors; the elements are copied once.

    ``form``     the mappings, lists and plain values, with the shape instead of each tensor
    ``numbers``  for each tensor, in the order of the form: its index in ``values``
    ``values``   for each type of tensor: the elements of all its tensors one after another, (element,), on their device
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
    """The packed value; its tensors are views of ``values``. RuntimeError if these do not fit the form."""
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
    """``value`` with the shape instead of each tensor; appends the tensors to ``tensors``."""

    def shape(tensor: Tensor) -> torch.Size:
        tensors.append(tensor)
        return tensor.shape

    return replaced(value, Tensor, shape)


def replaced(value: Any, kind: type, replace: Callable[[Any], Any]) -> Any:
    """A copy of nested mappings and lists in which ``replace`` has replaced each value of type ``kind``, in order."""
    if isinstance(value, kind):
        return replace(value)
    if isinstance(value, dict):
        return {key: replaced(part, kind, replace) for key, part in value.items()}
    if isinstance(value, list):
        return [replaced(part, kind, replace) for part in value]
    return value
