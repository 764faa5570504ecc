"""All replicas' Adams in one step, against PyTorch's fused Adam and its clipping for each replica alone."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from mdaf.model.kernels.dense_adam import CHUNK_SIZE
from mdaf.sweeper.training.optim.fused_adam import FusedAdam
from mdaf.sweeper.training.optim.joint_adam import JointAdam
from tests.model import backends
from tests.model.backends import DEVICE

#: One is cut into several chunks, some are smaller than a chunk, one has a single element.
SHAPES = [(2 * CHUNK_SIZE + 300,), (5,), (3, 4), (1,)]
DECAYS = [(0.3, 0.1), (0.0, 0.0)]  # of the first two parameters and of the rest, by replica
RATES = [0.02, 0.05]

pytestmark = [backends.triton.marks[0]]
either = pytest.mark.parametrize("decoupled", [False, True], ids=["adam", "adamw"])


class Twins:
    """Two replicas' parameters on ``device``, with an Adam for each."""

    def __init__(self, device: torch.device, decoupled: bool, rates: list[float] | Tensor) -> None:
        drawn = torch.Generator().manual_seed(1)
        self.parameters = [nn.Parameter(torch.randn(2, *s, generator=drawn).to(device)) for s in SHAPES]
        self.adams = [FusedAdam(self._groups(k), rates[k], decoupled) for k in range(2)]

    def _groups(self, k: int) -> list[dict[str, object]]:
        views = [parameter.detach()[k] for parameter in self.parameters]
        return [{"params": part, "weight_decay": DECAYS[place][k]} for place, part in enumerate((views[:2], views[2:]))]

    def give_gradients(self, step: int) -> None:
        """Gradients of all parameters, at some steps of all but one."""
        drawn = torch.Generator().manual_seed(step)
        for number, parameter in enumerate(self.parameters):
            gradient = torch.randn(parameter.shape, generator=drawn) * 10.0 ** (step % 3 - 2)
            parameter.grad = None if number == step else gradient.to(parameter.device)


def alone(steps: range, decoupled: bool, clip_norm: float | None, elsewhere: Tensor) -> Twins:
    """Each replica by itself, on the CPU."""
    twins = Twins(torch.device("cpu"), decoupled, RATES)
    for step in steps:
        twins.give_gradients(step)
        for k, adam in enumerate(twins.adams):
            views = [view for group in adam.param_groups for view in group["params"]]
            for view, parameter in zip(views, twins.parameters, strict=True):
                view.grad = None if parameter.grad is None else parameter.grad[k].clone()
            if clip_norm is not None:
                norm = nn.utils.get_total_norm([view.grad for view in views if view.grad is not None])
                nn.utils.clip_grads_with_norm_(views, clip_norm, (norm.square() + elsewhere[k]).sqrt())
            adam.step()
    return twins


def jointly(steps: range, decoupled: bool, clip_norm: float | None, elsewhere: Tensor) -> Twins:
    rates = torch.tensor(RATES, device=DEVICE)
    twins = Twins(DEVICE, decoupled, rates)
    joint = JointAdam(twins.adams)
    for step in steps:
        twins.give_gradients(step)
        joint.step(twins.parameters, rates, clip_norm, elsewhere.to(DEVICE))
    return twins


def assert_alike(found: Twins, expected: Twins) -> None:
    for mine, theirs in zip(found.parameters, expected.parameters, strict=True):
        torch.testing.assert_close(mine.detach().cpu(), theirs.detach(), rtol=2e-6, atol=2e-6)
    for mine, theirs in zip(found.adams, expected.adams, strict=True):
        torch.testing.assert_close(states(mine), states(theirs), rtol=2e-6, atol=2e-6)


def states(adam: FusedAdam) -> dict[int, dict[str, Tensor]]:
    saved = adam.state_dict()["state"]
    return {number: {name: value.cpu() for name, value in state.items()} for number, state in saved.items()}


@either
@pytest.mark.parametrize("clip_norm", [None, 0.5])
def test_a_step_of_all_replicas_is_that_of_each_alone(decoupled: bool, clip_norm: float | None) -> None:
    elsewhere = torch.tensor([0.0, 4.0])
    found = jointly(range(5), decoupled, clip_norm, elsewhere)
    assert_alike(found, alone(range(5), decoupled, clip_norm, elsewhere))


def test_it_tells_by_how_much_each_gradient_was_clipped() -> None:
    twins = Twins(DEVICE, False, torch.tensor(RATES, device=DEVICE))
    for parameter in twins.parameters:
        parameter.grad = torch.zeros_like(parameter)
    twins.parameters[1].grad = torch.tensor([[3.0, 4, 0, 0, 0], [0.03, 0.04, 0, 0, 0]], device=DEVICE)
    elsewhere = torch.tensor([75.0, 0.0], device=DEVICE)
    clip = JointAdam(twins.adams).step(twins.parameters, torch.tensor(RATES, device=DEVICE), 1.0, elsewhere)
    assert clip.tolist() == pytest.approx([0.1, 1.0], rel=1e-5)


def test_without_gradients_nothing_moves() -> None:
    twins = Twins(DEVICE, False, torch.tensor(RATES, device=DEVICE))
    before = copy.deepcopy([parameter.data for parameter in twins.parameters])
    rates = torch.tensor(RATES, device=DEVICE)
    assert JointAdam(twins.adams).step(twins.parameters, rates, 1.0, None).tolist() == [1.0, 1.0]
    assert all(torch.equal(p.data, b) for p, b in zip(twins.parameters, before, strict=True))


def test_it_goes_on_from_the_states_of_single_adams() -> None:
    elsewhere = torch.zeros(2)
    expected = alone(range(4), False, 0.5, elsewhere)
    begun = alone(range(2), False, 0.5, elsewhere)
    rates = torch.tensor(RATES, device=DEVICE)
    found = Twins(DEVICE, False, rates)
    for mine, theirs in zip(found.parameters, begun.parameters, strict=True):
        mine.data.copy_(theirs.data)
    for mine, theirs in zip(found.adams, begun.adams, strict=True):
        mine.load_state_dict({**mine.state_dict(), "state": copy.deepcopy(theirs.state_dict()["state"])})
    joint = JointAdam(found.adams)
    for step in range(2, 4):
        found.give_gradients(step)
        joint.step(found.parameters, rates, 0.5, None)
    assert_alike(found, expected)
