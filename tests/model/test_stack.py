"""Replicas in one stack are the models that they were."""

from __future__ import annotations

import pytest
import torch

from mdaf.model.layers.basic import dropout_keys, set_dropout
from mdaf.model.stack import keep, load_replica, replica_state, stack
from tests.model.samples import batch, mdaf
from tests.model.zoo import part


def test_dropout_differs_between_keys_and_is_off_in_evaluation() -> None:
    model, samples = mdaf(), batch([[3, 5, 0, 6]])
    rate = torch.tensor([0.5])
    set_dropout(model, rate, dropout_keys(model, [1]))
    first = model(samples).logits
    torch.testing.assert_close(model(samples).logits, first)
    set_dropout(model, rate, dropout_keys(model, [2]))
    assert not torch.allclose(model(samples).logits, first)
    model.eval()
    evaluated = model(samples).logits
    set_dropout(model, None, None)
    torch.testing.assert_close(model(samples).logits, evaluated)


def test_replicas_that_leave_take_nothing_from_those_that_stay() -> None:
    models = [mdaf(seed) for seed in range(3)]
    stacked = stack(models)
    keep(stacked, [0, 2])
    samples = batch([[3, 5], [6, 1]])
    logits = stacked(samples).logits
    torch.testing.assert_close(logits[1], models[2](part(samples, 1)).logits[0])


def test_saved_weights_carry_no_replica_axis_and_load_into_any_replica() -> None:
    model, other = mdaf(1), stack([mdaf(2), mdaf(3)])
    state = replica_state(model, 0)
    assert all(state[name].shape == parameter.shape[1:] for name, parameter in model.named_parameters())
    load_replica(other, 1, state)
    samples = batch([[3, 5], [3, 5]])
    torch.testing.assert_close(other(samples).logits[1], model(part(samples, 1)).logits[0])
    with pytest.raises(KeyError, match=r"head\.logit\.bias"):
        load_replica(other, 0, {name: value for name, value in state.items() if name != "head.logit.bias"})
