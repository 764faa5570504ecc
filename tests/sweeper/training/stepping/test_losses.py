"""Losses against their equations, written as loops."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

import mdaf.naming.allowed
from mdaf.data.preparing.prepare import prepare_config
from mdaf.data.store.event_store import EventStore
from mdaf.errors import UserError
from mdaf.sweeper.hydra_ext.run_config import validate
from mdaf.sweeper.training.stepping.losses import BatchLoss, cross_entropy, focal, loss_of
from tests.sweeper.tiny import composed
from tests.sweeper.training.test_loop import POINT, trained

LOGITS = torch.tensor([[1.5, -0.3, 0.0, 40.0], [-2.0, 0.7, -40.0, 0.1]])
LABELS = torch.tensor([[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 1.0, 0.0]])


def by_hand(k: int, smoothing: float, weight: float, gamma: float) -> float:
    total = 0.0
    for z, y in zip(LOGITS[k].tolist(), LABELS[k].tolist(), strict=True):
        target, log_p, log_q = (1 - smoothing) * y + smoothing / 2, -math.log1p(math.exp(-z)), -math.log1p(math.exp(z))
        own = -target * math.exp(gamma * log_q) * log_p - (1 - target) * math.exp(gamma * log_p) * log_q
        total += weight**y * own
    return total / 10


@pytest.mark.parametrize(("loss", "gammas"), [(cross_entropy, (0.0, 0.0)), (focal, (2.0, 0.5)), (focal, (0.0, 0.0))])
def test_smoothing_weight_and_gamma_of_each_replica_are_in_the_loss_as_the_equations_say(
    loss: Any, gammas: tuple[float, float]
) -> None:
    smoothing, weights = (0.1, 0.0), (1.0, 5.0)
    found = BatchLoss(loss, LABELS, *(torch.tensor(v).unsqueeze(1) for v in (smoothing, gammas, weights)), size=10)(
        LOGITS
    )
    expected = [by_hand(k, smoothing[k], weights[k], gammas[k]) for k in range(2)]
    assert found.tolist() == pytest.approx(expected, rel=1e-5)


def test_the_focal_loss_has_a_gradient_where_a_probability_is_0_or_1() -> None:
    logits = torch.tensor([[-200.0, 200.0]], requires_grad=True)
    focal(logits, torch.tensor([[0.0, 1.0]]), torch.tensor([[0.5]])).sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


# ---- in training


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> EventStore:
    return prepare_config(composed(f"data.root={tmp_path_factory.mktemp('stores')}").data)


SHORT = ("training.epochs=1", "training.train_sample=200", "training.steps_per_epoch=2", "training.loss=focal")


def test_replicas_with_weights_of_their_own_learn_what_each_learns_alone_in_parts_of_a_batch_too(
    store: EventStore,
) -> None:
    points = [replace(POINT, positive_weight=4.0), replace(POINT, focal_gamma=0.0)]
    stacked = trained(store, *SHORT, points=points, micro_batch=100)
    for point, book in zip(points, stacked, strict=True):
        [alone] = trained(store, *SHORT, points=[point])
        assert book.rows == [pytest.approx(row, rel=1e-3, abs=1e-4) for row in alone.rows]
    assert stacked[0].rows[0]["train_loss"] != stacked[1].rows[0]["train_loss"]


# ---- of one's own


def own(**functions: Any) -> ModuleType:
    module = ModuleType("somebodys_losses")
    vars(module).update(functions)
    return module


def squared(logits: Tensor, targets: Tensor) -> Tensor:
    return (logits.sigmoid() - targets).square()


@pytest.fixture
def allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mdaf.naming.allowed, "STARTED_WITH", "somebodys_losses.*")
    found = own(
        squared=squared,
        mean=lambda logits, targets: squared(logits, targets).mean(),
        mixed=lambda logits, targets: squared(logits, targets).cumsum(dim=1).flip(1),
        broken=lambda logits: logits,
        constant=lambda logits, targets: targets,
    )
    monkeypatch.setitem(sys.modules, "somebodys_losses", found)


@pytest.mark.usefixtures("allowed")
def test_a_loss_of_ones_own_trains_where_the_environment_allows_it(store: EventStore) -> None:
    validate(composed("training.loss=somebodys_losses.squared"))
    [book] = trained(store, *SHORT, "training.loss=somebodys_losses.squared")
    assert 0 < book.rows[0]["train_loss"] < 0.3


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("focul", "found focul; did you mean focal?; expected bce, focal, or a function of your own"),
        ("somebodys_losses.squared", "is not on the list of what a config may name; if you trust that code, type exp"),
    ],
)
def test_a_name_that_is_no_loss_or_not_allowed_is_refused(name: str, said: str) -> None:
    with pytest.raises(UserError) as error:
        validate(composed(f"training.loss={name}"))
    assert str(error.value).startswith("training.loss: ")
    assert said in str(error.value)


@pytest.mark.usefixtures("allowed")
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("absent", "cannot be imported"),
        ("mean", r"returned the shape \(\) for logits \(2, 3\); expected a function of logits and targets"),
        ("mixed", "mixes samples"),
        ("broken", "raised TypeError"),
        ("constant", "has no gradient"),
    ],
)
def test_a_function_that_gives_no_loss_of_each_sample_is_refused_before_training(name: str, said: str) -> None:
    with pytest.raises(UserError, match=rf"^training\.loss: .*{said}"):
        loss_of(f"somebodys_losses.{name}")
