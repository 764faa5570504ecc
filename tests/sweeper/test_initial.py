"""A model's initial weights are a function of its seed alone, however many are drawn beside it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from data.streams import stream_seed
from sweeper.initial import all_initialized, initialized
from sweeper.models import builder
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


def same(model: nn.Module, other: nn.Module) -> bool:
    pairs = zip(model.parameters(), other.parameters(), strict=True)
    return all(torch.equal(parameter, its) for parameter, its in pairs)
