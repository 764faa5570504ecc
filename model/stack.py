"""Several models of one shape as one: parameters concatenated along the leading replica axis."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn


def stack(models: Sequence[nn.Module], device: torch.device | str = "cpu") -> nn.Module:
    """One model on ``device`` whose replicas are those of ``models``, in order; the given ones are left as they are."""
    others = [dict(model.named_parameters()) for model in models]
    made: dict[int, Any] = {}  # what a copy puts in a parameter's place: the weights themselves are copied once
    for name, parameter in models[0].named_parameters():
        parts = [parameters[name].detach() for parameters in others]
        weights = torch.empty((sum(map(len, parts)), *parameter.shape[1:]), dtype=parameter.dtype, device=device)
        for place, part in zip(weights.split([len(part) for part in parts]), parts, strict=True):
            place.copy_(part)
        made[id(parameter)] = nn.Parameter(weights, requires_grad=parameter.requires_grad)
    return copy.deepcopy(models[0], made).to(device)


def keep(model: nn.Module, replicas: Sequence[int]) -> None:
    """Reduces ``model`` in place to the given replicas, in the given order."""
    for parameter in model.parameters():
        parameter.data = parameter.data[list(replicas)]
        parameter.grad = None


def replica_state(model: nn.Module, replica: int) -> dict[str, Tensor]:
    """Views of one replica's weights, without the replica axis: what its solo run would save."""
    return {name: parameter.detach()[replica] for name, parameter in model.named_parameters()}


def load_replica(model: nn.Module, replica: int, state: Mapping[str, Tensor]) -> None:
    """Copies weights from ``replica_state`` into one replica. KeyError names a missing or an unexpected parameter."""
    parameters = dict(model.named_parameters())
    if unmatched := parameters.keys() ^ state.keys():
        raise KeyError(f"weights do not fit the model: {', '.join(sorted(unmatched))} on one side only")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter[replica].copy_(state[name])
