"""Several models of one shape as one: parameters concatenated along the leading replica axis."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


def stack(models: Sequence[nn.Module]) -> nn.Module:
    """One model whose replicas are those of ``models``, in order; the given ones are left as they are."""
    stacked = copy.deepcopy(models[0])
    others = [dict(model.named_parameters()) for model in models]
    for name, parameter in stacked.named_parameters():
        parameter.data = torch.cat([parameters[name].data for parameters in others])
    return stacked


def keep(model: nn.Module, replicas: Sequence[int]) -> None:
    """Reduces ``model`` in place to the given replicas, in the given order."""
    for parameter in model.parameters():
        parameter.data = parameter.data[list(replicas)]
        parameter.grad = None


def replica_state(model: nn.Module, replica: int) -> dict[str, Tensor]:
    """The weights of one replica, without the replica axis: what its solo run would save."""
    return {name: parameter.detach()[replica].clone() for name, parameter in model.named_parameters()}


def load_replica(model: nn.Module, replica: int, state: Mapping[str, Tensor]) -> None:
    """Copies weights from ``replica_state`` into one replica. KeyError names a missing or an unexpected parameter."""
    parameters = dict(model.named_parameters())
    if unmatched := parameters.keys() ^ state.keys():
        raise KeyError(f"weights do not fit the model: {', '.join(sorted(unmatched))} on one side only")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter[replica].copy_(state[name])
