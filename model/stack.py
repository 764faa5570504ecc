"""Several models of one shape as one: parameters and buffers concatenated along the leading replica axis.

A buffer that is registered with ``persistent=False`` is a constant: replicas share it, and no checkpoint holds it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn


def state_of(model: nn.Module) -> dict[str, Tensor]:
    """The tensors of ``model`` that replicas have their own of, (replica, ...): parameters, and buffers but constants.

    A parameter that several modules share stands under its first name.
    """
    state: dict[str, Tensor] = dict(model.named_parameters())
    if buffers := dict(model.named_buffers()):
        kept = model.state_dict(keep_vars=True).keys()
        state |= {name: buffer for name, buffer in buffers.items() if name in kept}
    return state


def stack(models: Sequence[nn.Module], device: torch.device | str = "cpu") -> nn.Module:
    """One model on ``device`` whose replicas are those of ``models``, in order; the given ones are left as they are."""
    others = [state_of(model) for model in models]
    made: dict[int, Any] = {}  # what a copy puts in a tensor's place: the weights themselves are copied once
    for name, tensor in others[0].items():
        parts = [state[name].detach() for state in others]
        stacked = torch.empty((sum(map(len, parts)), *tensor.shape[1:]), dtype=tensor.dtype, device=device)
        for place, part in zip(stacked.split([len(part) for part in parts]), parts, strict=True):
            place.copy_(part)
        parameter = isinstance(tensor, nn.Parameter)
        made[id(tensor)] = nn.Parameter(stacked, requires_grad=tensor.requires_grad) if parameter else stacked
    return copy.deepcopy(models[0], made).to(device)


def keep(model: nn.Module, replicas: Sequence[int]) -> None:
    """Reduces ``model`` in place to the given replicas, in the given order."""
    for tensor in state_of(model).values():
        tensor.data = tensor.data[list(replicas)]
        tensor.grad = None


def replica_state(model: nn.Module, replica: int) -> dict[str, Tensor]:
    """Views of one replica's weights and buffers, without the replica axis: what its solo run would save."""
    return {name: tensor.detach()[replica] for name, tensor in state_of(model).items()}


def load_replica(model: nn.Module, replica: int, state: Mapping[str, Tensor]) -> None:
    """Copies the tensors of ``replica_state`` into one replica. KeyError names a missing or an unexpected one."""
    tensors = state_of(model)
    if unmatched := tensors.keys() ^ state.keys():
        raise KeyError(f"weights do not fit the model: {', '.join(sorted(unmatched))} on one side only")
    with torch.no_grad():
        for name, tensor in tensors.items():
            tensor[replica].copy_(state[name])
