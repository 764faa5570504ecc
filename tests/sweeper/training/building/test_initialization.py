"""A model's initial weights are a function of its seed alone, however many are drawn beside it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mdaf.model.layers.basic import Embedding
from mdaf.streams import stream_seed
from mdaf.sweeper.training.building.initialization import all_initialized, initialized, undrawn
from mdaf.sweeper.training.building.model_factory import builder
from tests.model.samples import SCHEMA
from tests.model.zoo import MODELS, node, trained_by_gradient

LEARNED = [name for name in MODELS if trained_by_gradient(name)]


@pytest.mark.parametrize("name", LEARNED)
def test_weights_are_those_of_the_stream_of_their_seed_whoever_is_drawn_at_the_same_time(name: str) -> None:
    build = builder(node(name), SCHEMA)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(2, "init"))
        alone = build()
    assert same(all_initialized(build, [1, 2, 3])[1], alone)
    assert not same(initialized(build, 2, epoch=2), alone)


@pytest.mark.parametrize("name", LEARNED)
def test_initializing_takes_nothing_from_the_random_numbers_of_the_process(name: str) -> None:
    before = torch.get_rng_state()
    all_initialized(builder(node(name), SCHEMA), [1, 2])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", LEARNED)
def test_a_model_that_is_not_drawn_has_the_same_shapes_and_zeros_for_tables(name: str) -> None:
    build = builder(node(name), SCHEMA)
    drawn, undone = build(), undrawn(build)()
    assert [p.shape for p in undone.parameters()] == [p.shape for p in drawn.parameters()]
    tables = [[m.weight for m in model.modules() if isinstance(m, Embedding)] for model in (drawn, undone)]
    assert tables[0]
    assert all(table.any() for table in tables[0])
    assert not any(table.any() for table in tables[1])


def same(model: nn.Module, other: nn.Module) -> bool:
    pairs = zip(model.parameters(), other.parameters(), strict=True)
    return all(torch.equal(parameter, its) for parameter, its in pairs)
