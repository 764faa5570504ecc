"""The optimizer is PyTorch's own, to the bit and to the form of its state."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from mdaf.sweeper.training.optim.fused_adam import FusedAdam

either = pytest.mark.parametrize("decoupled", [False, True], ids=["adam", "adamw"])


@either
def test_weights_and_states_are_those_of_torch_optim(decoupled: bool) -> None:
    mine, theirs = weights(), weights()
    adam, expected = FusedAdam(groups(mine), 0.01, decoupled), reference(theirs, decoupled)
    for step in range(4):
        give_gradients(mine, step)
        give_gradients(theirs, step)
        adam.step()
        expected.step()
    assert all(torch.equal(weight, other) for weight, other in zip(mine, theirs, strict=True))
    assert adam.state_dict().keys() == expected.state_dict().keys()
    assert adam.state_dict()["param_groups"] == expected.state_dict()["param_groups"]
    torch.testing.assert_close(adam.state_dict()["state"], expected.state_dict()["state"], rtol=0, atol=0)


@either
def test_it_goes_on_from_a_state_of_torch_optim_as_if_it_had_never_stopped(decoupled: bool) -> None:
    theirs = weights()
    expected = reference(theirs, decoupled)
    give_gradients(theirs, 0)
    expected.step()
    mine = [weight.clone() for weight in theirs]
    adam = FusedAdam(groups(mine), 0.01, decoupled)
    adam.load_state_dict(copy.deepcopy(expected.state_dict()))
    for some, optimizer in ((mine, adam), (theirs, expected)):
        give_gradients(some, 1)
        optimizer.step()
    assert all(torch.equal(weight, other) for weight, other in zip(mine, theirs, strict=True))


def test_a_state_of_other_parameters_is_refused() -> None:
    state = FusedAdam(groups(weights()[:2]), 0.01).state_dict()
    with pytest.raises(ValueError, match="groups"):
        FusedAdam(groups(weights()), 0.01).load_state_dict(state)


def weights() -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(shape, generator=generator) for shape in ((3, 4), (5,), (2, 2))]


def groups(some: list[Tensor]) -> list[dict[str, object]]:
    return [{"params": some[:1], "weight_decay": 0.1}, {"params": some[1:], "weight_decay": 0.0}]


def reference(some: list[Tensor], decoupled: bool) -> torch.optim.Optimizer:
    kind = torch.optim.AdamW if decoupled else torch.optim.Adam
    return kind(groups(some), lr=0.01, fused=True)


def give_gradients(some: list[Tensor], step: int) -> None:
    """Gradients of all parameters but the last, which no step reads."""
    generator = torch.Generator().manual_seed(step)
    for weight in some[:-1]:
        weight.grad = torch.randn(weight.shape, generator=generator)
