"""What the embedding tables have for themselves: lazy updates, a decay of their own, fresh tables at each epoch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mdaf.data.preparing.prepare import prepare_config
from mdaf.data.store.event_store import EventStore
from mdaf.sweeper.training.optim.lazy_adam import LazyAdam
from tests.sweeper.tiny import composed
from tests.sweeper.training.test_loop import POINT, trained

QUIET = replace(POINT, dropout=0.0, weight_decay=0.0)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> EventStore:
    root = tmp_path_factory.mktemp("stores")
    return prepare_config(composed(f"data.root={root}").data)


def tables(weights: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([value.flatten() for name, value in weights.items() if ".tables." in name])


def others(weights: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([value.flatten() for name, value in weights.items() if ".tables." not in name])


@pytest.mark.parametrize("decoupled", [False, True])
def test_a_lazy_update_is_adams_where_every_row_is_touched(decoupled: bool) -> None:
    lazy_table, table = (torch.linspace(-1, 1, 12).view(4, 3).requires_grad_() for _ in range(2))
    lazy = LazyAdam([lazy_table], lr=0.1, weight_decay=0.3, decoupled=decoupled)
    adam = (torch.optim.AdamW if decoupled else torch.optim.Adam)([table], lr=0.1, weight_decay=0.3)
    for step in range(5):
        for parameter in (lazy_table, table):
            parameter.grad = torch.cos(torch.arange(12.0) + step).view(4, 3)
        lazy.step()
        adam.step()
    torch.testing.assert_close(lazy_table, table)


def test_a_lazy_update_leaves_untouched_rows_where_momentum_and_decay_would_move_them() -> None:
    table = torch.ones(3, 2, requires_grad=True)
    lazy = LazyAdam([table], lr=0.1, weight_decay=0.3)
    table.grad = torch.ones(3, 2)
    lazy.step()
    after_first = table.detach().clone()
    table.grad = torch.tensor([[1.0, 1.0], [0.0, 0.0], [0.0, 0.0]])
    lazy.step()
    assert torch.equal(table[1:], after_first[1:])
    assert not torch.equal(table[0], after_first[0])


@pytest.mark.slow
def test_the_sweep_can_train_lazily_and_gets_another_model(store: EventStore) -> None:
    [full], [lazy] = (trained(store, f"training.embedding_optimizer={o}", points=[QUIET]) for o in ("full", "lazy"))
    assert not torch.equal(tables(full.weights), tables(lazy.weights))
    assert lazy.rows[-1]["train_loss"] == pytest.approx(full.rows[-1]["train_loss"], rel=0.1)


def test_embedding_l2_shrinks_the_tables_most(store: EventStore) -> None:
    free, held = trained(store, points=[QUIET, replace(QUIET, embedding_l2=0.1)])
    assert tables(held.weights).abs().sum() < 0.7 * tables(free.weights).abs().sum()
    assert others(held.weights).abs().sum() > 0.9 * others(free.weights).abs().sum()


def test_tables_that_are_drawn_anew_have_forgotten_the_epoch_before(store: EventStore) -> None:
    still = replace(QUIET, learning_rate=1e-12)
    [once], [twice] = (trained(store, points=[replace(still, reinit_embeddings=r)]) for r in (False, True))
    [first] = trained(store, "training.epochs=1", points=[replace(still, reinit_embeddings=True)])
    torch.testing.assert_close(tables(once.weights), tables(first.weights))
    assert not torch.allclose(tables(twice.weights), tables(first.weights))
    torch.testing.assert_close(others(twice.weights), others(first.weights))
