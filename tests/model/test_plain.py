"""A plain module, written for one replica, is trained as one of several."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mdaf.data.schema import Batch, Schema
from mdaf.errors import UserError
from mdaf.model.contract import check_replica_axis
from mdaf.model.ctr import CTRModel, Output
from mdaf.model.layers.basic import dropout_keys, set_dropout
from mdaf.model.plain import PlainModel
from mdaf.model.seeding import seeded
from mdaf.model.stack import keep, load_replica, replica_state, stack, state_of
from mdaf.sweeper.training.building.initialization import all_initialized, initialized
from tests.model.all_layers import AllLayers
from tests.model.samples import SCHEMA, batch
from tests.model.zoo import part

LENGTHS = [[6, 0, 1, 5], [2, 1, 0, 3], [4, 4, 4, 1]]


def build() -> PlainModel:
    return PlainModel(AllLayers(SCHEMA))


def step(model: nn.Module, samples: Batch, rates: list[float], seeds: list[int]) -> Tensor:
    """The logits of a training step, whose gradients stay in the parameters."""
    set_dropout(model, torch.tensor(rates), dropout_keys(model, seeds))
    logits = model.train()(samples).logits
    logits.square().sum().backward()
    return logits


def test_each_replica_scores_learns_and_keeps_its_buffers_exactly_as_alone() -> None:
    models = all_initialized(build, [1, 2, 3])
    stacked, samples = stack(models), batch(LENGTHS)
    rates, seeds = [0.4, 0.0, 0.2], [11, 22, 33]
    for _ in range(2):
        logits = step(stacked, samples, rates, seeds)
    for k, model in enumerate(models):
        for _ in range(2):
            alone = step(model, part(samples, k), rates[k : k + 1], seeds[k : k + 1])
        assert torch.equal(logits[k], alone[0])
        gradients = dict(stacked.named_parameters())
        for name, parameter in model.named_parameters():
            assert torch.equal(gradients[name].grad[k], parameter.grad[0]), name
        state, theirs = replica_state(stacked, k), replica_state(model, 0)
        assert all(torch.equal(state[name], theirs[name]) for name in theirs)
        assert state["module.seen"] == state["module.norm.num_batches_tracked"] == 2
    keep(stacked, [2])
    assert torch.equal(stacked.eval()(part(samples, 2)).logits, models[2].eval()(part(samples, 2)).logits)


def test_a_state_holds_every_parameter_and_buffer_and_scores_the_same_in_another_stack() -> None:
    model, samples = initialized(build, 1), batch(LENGTHS)
    step(model, part(samples, 1), [0.3], [5])
    state = replica_state(model, 0)
    assert {name.removeprefix("module.") for name in state} == AllLayers(SCHEMA).state_dict().keys() - {"tied.weight"}
    other = stack(all_initialized(build, [2, 3, 4]))
    load_replica(other, 1, state)
    again = AllLayers(SCHEMA)
    again.load_state_dict({name.removeprefix("module."): value for name, value in state.items()}, strict=False)
    scores = model.eval()(part(samples, 1)).logits[0]
    assert torch.equal(other.eval()(samples).logits[1], scores)
    assert torch.equal(again.eval()(samples.replica(1)), scores)


@pytest.mark.parametrize("in_threads", [False, True])
def test_every_layer_is_drawn_from_the_seed_and_from_nothing_else(in_threads: bool) -> None:
    torch.manual_seed(torch.seed() % 1000)
    first = all_initialized(build, [1, 2, 1], in_threads=in_threads)
    torch.rand(3)
    states = [state_of(model) for model in (*first, initialized(build, 1))]
    for name, tensor in states[0].items():
        assert torch.equal(tensor, states[2][name]), name
        assert torch.equal(tensor, states[3][name]), name
        constant = name.endswith((".bias", "seen", "tracked")) or "norm" in name or "bias" in name
        assert constant or not torch.equal(tensor, states[1][name]), name


def test_dropout_has_the_rate_of_the_config_and_one_seed_gives_one_mask() -> None:
    model, samples = initialized(build, 1), part(batch(LENGTHS), 0)
    scores = {
        (rate, seed): step(model, samples, [rate], [seed]).detach() for rate in (0.0, 0.5) for seed in (1, 2)
    }  # fmt: skip
    assert torch.equal(scores[0.0, 1], scores[0.0, 2])
    assert not torch.equal(scores[0.5, 1], scores[0.5, 2])
    before = torch.get_rng_state()
    assert torch.equal(step(model, samples, [0.5], [2]), scores[0.5, 2])
    assert torch.equal(torch.get_rng_state(), before)
    never = PlainModel(nn.Sequential(nn.Linear(1, 1), nn.Dropout(0.0), nn.TransformerEncoderLayer(4, 2, dropout=0.0)))
    assert never.dropouts == []


class Shares(nn.Module):
    """One layer under two names, and one weight in two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.item, self.same = nn.Embedding(9, 2), nn.Embedding(9, 2)
        self.same.weight = self.item.weight
        layer = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        self.layers = nn.ModuleList([layer, layer])

    def forward(self, batch: Batch) -> Tensor:
        vector: Tensor = self.item(batch.lengths) + self.same(batch.lengths)
        for layer in self.layers:
            vector = layer(vector)
        return vector.sum(dim=-1)


def test_a_layer_with_two_names_is_one_layer_with_one_weight_at_every_step() -> None:
    models = all_initialized(lambda: PlainModel(Shares()), [1, 2])
    stacked, samples = stack(models), part(batch(LENGTHS), 0)
    both = batch([LENGTHS[0], LENGTHS[0]])
    mine = initialized(Shares, 2)
    optimizers = [torch.optim.SGD(model.parameters(), lr=0.1) for model in (stacked, mine)]
    for _ in range(3):
        logits = stacked.train()(both).logits
        alone = mine.train()(samples.replica(0))
        assert torch.equal(logits[1], alone)
        for scores, optimizer in ((logits, optimizers[0]), (alone, optimizers[1])):
            scores.square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
    own = {name.removeprefix("module."): tensor for name, tensor in replica_state(stacked, 1).items()}
    assert own["layers.0.1.num_batches_tracked"] == 6
    for name, tensor in mine.state_dict().items():
        assert name not in own or torch.equal(own[name], tensor), name


class Faulty(nn.Module):
    def __init__(self, change: Callable[[nn.Module], Any] = lambda module: None, returned: Any = None) -> None:
        super().__init__()
        self.layer, self.returned = nn.Linear(1, 1), returned
        change(self)

    def forward(self, batch: Batch) -> Any:
        return self.returned(batch.lengths * self.layer.bias)


def _setting(name: str, value: Callable[[], Any]) -> Callable[[nn.Module], None]:
    return lambda module: setattr(module, name, value())


FAULTS = [
    (_setting("offsets", lambda: torch.arange(3)), r"offsets is a tensor .*; use self.register_buffer\('offsets', "),
    (_setting("layers", lambda: [nn.Linear(1, 1)]), r"layers is a module in a plain container .* torch.nn.ModuleList"),
    (_setting("lazy", lambda: nn.LazyLinear(2)), r"lazy.weight has no shape yet; use layers that are told their sizes"),
    (_setting("table", lambda: nn.Embedding(3, 2, sparse=True)), r"table has sparse=True; leave it out"),
    (_setting("wide", lambda: nn.Linear(2, 2).double()), r"wide.weight is torch.float64, expected float32"),
    (_setting("near", lambda: nn.Embedding(3, 2, max_norm=1.0)), r"near has max_norm, by which an evaluation changes"),
    (
        lambda module: nn.utils.weight_norm(module.layer),
        r"layer.weight is computed from parameters .*utils.parametrizations",
    ),
    (lambda module: module.requires_grad_(False), r"the model has no parameter that can be trained"),
]


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize(("change", "said"), FAULTS, ids=[said.split()[0] for _, said in FAULTS])
def test_what_a_checkpoint_or_an_optimizer_could_not_hold_is_refused(change: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        PlainModel(Faulty(change))


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (lambda x: x[:, None], r"forward gave \(4, 1\), expected logits \(batch,\) = \(4,\); add .squeeze\(-1\)"),
        (lambda x: x.sum(), r"forward gave \(\), expected logits"),
        (lambda x: {"logits": x}, r"forward gave dict, expected logits"),
        (lambda x: x.detach(), r"forward gave logits without a gradient"),
    ],
)
def test_a_forward_pass_that_gives_no_logit_a_sample_is_refused(returned: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        PlainModel(Faulty(returned=returned))(batch(LENGTHS[:1]))


class MakesLater(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def forward(self, batch: Batch) -> Tensor:
        self.late = nn.Linear(1, 1)
        return batch.lengths * self.layer.bias * self.late.bias


def test_a_forward_pass_that_makes_parameters_is_refused() -> None:
    with pytest.raises(UserError, match=r"forward has made late.bias, .* make it in the constructor"):
        PlainModel(MakesLater())(batch(LENGTHS[:1]))


class Stacked(CTRModel):
    """A model of somebody else that claims to have the replica axis."""

    def __init__(self, schema: Schema, weight: Tensor, layer: nn.Module | None = None, constant: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.layer = layer
        self.register_buffer("positions", torch.arange(3), persistent=not constant)

    def forward(self, batch: Batch) -> Output:
        return Output(batch.labels * self.weight)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"weight": torch.ones(8, 16)}, r"weight has the shape \(8, 16\), expected \(1, ...\): the replica axis; use"),
        ({"weight": torch.tensor(1.0)}, r"weight has the shape \(\), expected \(1, ...\)"),
        ({"weight": torch.ones(1), "layer": nn.Linear(4, 1)}, r"layer is a torch.nn.Linear, which has no replica axis"),
        ({"weight": torch.ones(1), "constant": False}, r"positions has the shape \(3,\), .*persistent=False for a con"),
    ],
)
def test_a_stackable_model_whose_tensors_lack_the_replica_axis_is_refused(arguments: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check_replica_axis(Stacked(SCHEMA, **arguments))


def test_constants_of_a_stackable_model_are_shared_by_its_replicas() -> None:
    models = [Stacked(SCHEMA, torch.full((1, 1), float(k))) for k in range(2)]
    for model in models:
        check_replica_axis(model)
    stacked = stack(models)
    assert stacked.positions.tolist() == [0, 1, 2]
    assert replica_state(stacked, 1) == {"weight": torch.tensor([1.0])}


def test_what_is_drawn_from_a_seed_takes_nothing_from_the_process() -> None:
    with seeded(3):
        expected = torch.rand(2)
    before = torch.get_rng_state()
    with seeded(3):
        assert torch.equal(torch.rand(2), expected)
    assert torch.equal(torch.get_rng_state(), before)
