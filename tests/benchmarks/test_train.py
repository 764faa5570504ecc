"""Shares of a training step: what is timed of a model."""

from __future__ import annotations

import pytest

from benchmarks.train.__main__ import MODELS, parts
from mdaf.model.layers.fields import Tables
from tests.model.zoo import zoo_model


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_is_looked_up_or_belongs_to_one_part_that_is_timed(name: str) -> None:
    model = zoo_model(name)
    timed = [module for module, _ in parts(model)] + [table for table in model.modules() if isinstance(table, Tables)]
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = [names[id(parameter)] for module in timed for parameter in module.parameters()]
    assert sorted(found) == sorted(names.values())
