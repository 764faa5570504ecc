"""The loop of models that are fitted, through ``fit`` on a tiny synthetic log."""

from __future__ import annotations

import logging

import pytest
import torch

from mdaf.data.preparing.prepare import prepare_config
from mdaf.data.store.device_store import DeviceStore
from mdaf.model.ctr import Estimator
from mdaf.sweeper.training.building.from_config import hyperparameters, settings
from mdaf.sweeper.training.building.model_factory import builder
from mdaf.sweeper.training.fitted import fit
from tests.sweeper.tiny import composed
from tests.sweeper.training.test_loop import Notebook

CPU = torch.device("cpu")
BOOSTED = ("data=synthetic_tiny", "model=boosted", "model.trees=6", "model.leaves=7", "model.samples_per_leaf=20")


@pytest.fixture(scope="module")
def gathered(tmp_path_factory: pytest.TempPathFactory) -> DeviceStore:
    root = tmp_path_factory.mktemp("stores")
    return DeviceStore(prepare_config(composed(f"data.root={root}").data), CPU)


def fitted(gathered: DeviceStore, *overrides: str, until: int = 99) -> Notebook:
    cfg = composed(*BOOSTED, *overrides, tiny=())
    book = Notebook(until)
    model = builder(cfg.model, gathered.schema)()
    assert isinstance(model, Estimator)
    fit(model, gathered, settings(cfg, CPU), hyperparameters(cfg), book)
    return book


def test_epochs_are_parts_of_the_trees_and_each_has_a_whole_row(gathered: DeviceStore) -> None:
    rows = fitted(gathered, "training.epochs=3").rows
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    losses = [row["train_loss"] for row in rows]
    assert losses == sorted(losses, reverse=True)
    at_once = fitted(gathered, "training.epochs=1").rows[0]
    assert {**rows[-1], "epoch": 1} == pytest.approx(at_once)
    assert rows[-1]["val_auc"] > 0.55


def test_a_follower_that_stops_and_patience_end_it(gathered: DeviceStore) -> None:
    assert len(fitted(gathered, "training.epochs=3", until=2).rows) == 2
    steep = ("training.epochs=6", "model.learning_rate=5", "training.patience=1")  # diverges at once
    assert len(fitted(gathered, *steep).rows) < 6


def test_the_same_seed_draws_the_same_rows_where_not_all_are_taken(gathered: DeviceStore) -> None:
    first, again, other = (fitted(gathered, "model.rows=500", f"seed={seed}").rows[-1] for seed in (1, 1, 2))
    assert first == again
    assert first["val_loss"] != other["val_loss"]


def test_it_says_once_which_keys_have_no_effect(gathered: DeviceStore, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        weak, strong = (fitted(gathered, f"regularization={name}", "training.epochs=2") for name in ("weak", "strong"))
    assert sum("have no effect" in record.message for record in caplog.records) == 2  # once a run
    assert weak.rows == strong.rows
