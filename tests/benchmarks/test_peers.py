"""The benchmark beside other libraries: the rows that they read, and the steps that are counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.peers.__main__ import CONTENDERS, WIDTHS
from benchmarks.peers.ours import config, write_rows
from benchmarks.peers.server import Clock, Task, padded
from mdaf import conf
from mdaf.data.preparing.prepare import prepare
from mdaf.data.store.device_store import DeviceStore
from mdaf.model.layers.basic import Linear
from mdaf.sweeper.training.building.model_factory import builder
from tests.data.logs import START, TEST, VALIDATION, synthetic, user_behavior
from tests.data.logs import write_rows as write_log

LENGTH = 3


def test_peers_read_the_rows_that_our_batches_have(tmp_path: Path) -> None:
    log = [(user, 10 + (user + i) % 4, 1 + (user + i) % 2, "pv", START + 100 * i) for user in (1, 2) for i in range(6)]
    later = [(1, item, 1 + item % 2, "pv", time + item) for time in (VALIDATION, TEST) for item in (10, 11, 12)]
    file = write_log(tmp_path / "log.csv", [*log, *later])
    source = user_behavior(file, length=LENGTH, negatives=1, min_count={"item": 3})
    store = prepare(source, tmp_path / "stores")
    write_rows(store, tmp_path / "rows.npz")
    rows = np.load(tmp_path / "rows.npz")
    ours = DeviceStore(store, "cpu")
    batch = ours.gather("train", ours.rows("train").unsqueeze(0), LENGTH).replica(0)
    assert len(batch) == len(rows["label"]) > LENGTH
    assert 0 < int(batch.lengths.min()) < int(batch.lengths.max()) == LENGTH
    histories = padded(rows, LENGTH)
    for name, of_item in (("item", rows["items"]), ("category", rows["categories"])):
        assert torch.from_numpy(of_item[rows["item_index"]]).equal(batch.static[name].long())
        for events, theirs, length in zip(batch.sequence[name], of_item[histories], batch.lengths, strict=True):
            assert theirs.tolist() == [0] * (LENGTH - int(length)) + events[: int(length)].tolist()
    for name in ("user", "hour", "weekday"):
        assert torch.from_numpy(rows[name]).equal(batch.static[name].long())
    assert torch.from_numpy(rows["label"]).equal(batch.labels)


def test_a_round_counts_whole_steps_but_not_its_first() -> None:
    clock = Clock(seconds=0.0, cuda=False)
    taken = list(clock.batches([5, 7, 11, 13], size=lambda batch: batch))
    assert clock.over()
    assert taken == [5, 7]
    assert clock.answer()["samples"] == 7


@pytest.mark.parametrize("model", CONTENDERS)
def test_our_config_has_the_widths_that_the_peers_are_given(model: str, tmp_path: Path) -> None:
    conf.register()
    overrides = ["data=synthetic", f"data.root={tmp_path}"]
    task = Task("ours", model, "", "cpu", 8, 4, 1e-3, 0.1, WIDTHS[model], overrides=overrides)
    schema = prepare(synthetic(), tmp_path).schema
    built = builder(config(task).model, schema)()
    shapes = {(layer.weight.shape[2], layer.weight.shape[1]) for layer in built.modules() if isinstance(layer, Linear)}
    assert {(256, 128), (128, 64)} <= shapes
    expected = {"DIN": (64, 16), "BST": (128, 2048), "DCNv2": (7 * 16, 7 * 16)}
    assert expected[model] in shapes
