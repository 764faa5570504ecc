"""The layouts of public data sets are prepared and trained on by their documented configs alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from mdaf.data.inspecting.facts import inspect, show
from mdaf.data.store.event_store import EventStore
from tests.data.layouts import LAYOUTS, ROWS
from tests.sweeper.inside import run

TINY = ("model=deepfm", "device=cpu", "training.epochs=1", "training.batch_size=128", "hydra.run.dir=run")


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_documented_layout_is_prepared_and_trained_on(name: str, tmp_path: Path) -> None:
    write, typed = LAYOUTS[name]
    write(tmp_path)
    assert run(tmp_path, f"data={name}", *typed, *TINY, tiny=()) == 0
    assert 0 < json.loads((tmp_path / "run/result.json").read_text())["best"]["val_auc"] < 1
    (folder,) = (tmp_path / "runs/stores").glob("event_log-*")
    store = EventStore.open(folder)
    assert sum(len(samples) for samples in store.samples.values()) == ROWS
    assert store.defects.bad == 0
    alone = name in ("criteo", "avazu")
    with (tmp_path / "shown").open("w") as file:
        show(store, inspect(store), Console(file=file, width=200))
    shown = (tmp_path / "shown").read_text()
    assert ("user unknown to training" in shown) is not alone
    assert ("first sample" in shown) is (name != "criteo")
    assert (len(store.time) == 0) is alone
