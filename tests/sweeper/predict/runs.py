"""Finished runs whose models were never trained: everything that using a model needs, in no time."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from omegaconf import DictConfig

from mdaf.data.store.device_store import DeviceStore
from mdaf.data.store.event_store import EventStore
from mdaf.model.ctr import Estimator
from mdaf.model.stack import replica_state
from mdaf.sweeper.hydra_ext.run_config import config_hash
from mdaf.sweeper.runs.checkpoint import Position, Saved, sealed, write
from mdaf.sweeper.runs.reader import BEST
from mdaf.sweeper.training.building import model_factory
from mdaf.sweeper.training.building.initialization import initialized
from tests.multirun.fakes import history, store_of, write_run

SIZE = ("data=synthetic_tiny", "device=cpu", "data.train_rows=400", "data.validation_rows=150", "data.test_rows=100")


def run_of(folder: Path, config: DictConfig) -> Path:
    """A run with the config's model at random weights."""
    rows = history(0.6, epochs=1)
    write_run(folder, config, rows)
    store = store_of(config)
    model = _fitted(config, store)
    weights = {name: weight.clone() for name, weight in replica_state(model, 0).items()}
    saved = Saved(Position(2, 0), rows, weights, [], None, config.seed, config_hash(config), store.data_hash)
    with (folder / BEST).open("wb") as file:
        write(sealed(saved.content()), file)
    result = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps({**result, "best": rows[0]}))
    return folder


def _fitted(config: DictConfig, store: EventStore) -> torch.nn.Module:
    build = model_factory.builder(config.model, store.schema)
    if not model_factory.by_gradient(config.model):
        estimator, gathered = build(), DeviceStore(store, "cpu")
        assert isinstance(estimator, Estimator)
        batch = gathered.gather("train", gathered.rows("train")[None])
        estimator.count(batch)
        estimator.fit(estimator.training_features(batch)[0], gathered.labels("train"), 1.0, seed=0)
        return estimator
    model = initialized(build, config.seed)
    generator = torch.Generator().manual_seed(config.seed)
    with torch.no_grad():
        for parameter in model.parameters():  # biases and gates are zero at first, and would hide a difference
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return model
