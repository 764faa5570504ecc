"""Orders found ahead are those that would be found when they are needed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mdaf.data.preparing.prepare import prepare_config
from mdaf.data.store.device_store import DeviceStore
from mdaf.data.store.epoch_order import epoch_order
from mdaf.sweeper.training.epoch_orders import EpochOrders
from tests.sweeper.tiny import composed


@pytest.mark.parametrize("fraction", [1.0, 0.0], ids=["resident", "mapped"])
def test_an_epochs_orders_do_not_depend_on_what_was_asked_for_before(tmp_path: Path, fraction: float) -> None:
    store = DeviceStore(prepare_config(composed(f"data.root={tmp_path}").data), "cpu", fraction)
    rows, lengths = store.rows("train"), store.lengths("train")
    asked = [([1, 2, 2], 3), ([1, 2, 2], 4), ([2], 5), ([2, 7], 9)]  # replicas leave; a run goes on elsewhere
    with EpochOrders(store, batch_size=20, window=4, rows=100) as orders:
        for seeds, epoch in asked:
            found = orders.of(seeds, epoch, last=False)
            alone = [epoch_order(rows, seed, epoch, lengths=lengths, batch_size=20, window=4) for seed in seeds]
            assert torch.equal(found, torch.stack(alone)[:, :100])
