"""The layouts of public data sets are prepared, trained on and predicted by their documented configs alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from mdaf.data.inspecting.facts import inspect, show
from mdaf.data.store.event_store import EventStore
from mdaf.multirun.analysis.rows.scores import Scorer
from mdaf.sweeper.predict.cli import main as predict
from tests.data.layouts import LAYOUTS, ROWS
from tests.sweeper.inside import run

TINY = ("model=deepfm", "device=cpu", "training.epochs=1", "training.batch_size=128", "hydra.run.dir=run")


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_documented_layout_is_prepared_trained_on_and_predicted(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write, typed = LAYOUTS[name]
    write(tmp_path)
    assert run(tmp_path, f"data={name}", *typed, *TINY, tiny=()) == 0
    assert 0 < json.loads((tmp_path / "run/result.json").read_text())["best"]["val_auc"] < 1
    (folder,) = (tmp_path / "runs/stores").glob("event_log-*")
    store = EventStore.open(folder)
    assert sum(len(samples) for samples in store.samples.values()) == ROWS
    assert store.defects.bad == 0
    _assert_scored_alike(tmp_path, store)
    alone = name in ("criteo", "avazu")
    with (tmp_path / "shown").open("w") as file:
        show(store, inspect(store), Console(file=file, width=200))
    shown = (tmp_path / "shown").read_text()
    assert ("user unknown to training" in shown) is not alone
    assert ("first sample" in shown) is (name != "criteo")
    assert (len(store.time) == 0) is alone


def _assert_scored_alike(folder: Path, store: EventStore) -> None:
    """The log's own files are scored as they are, and each validation row gets the score of evaluation."""
    logs = [path for path in folder.iterdir() if path.name.startswith(("ratings", "x.inter", "Books", "log_", "train"))]
    scored = []
    for log in logs:
        out = folder / f"{log.name}.parquet"
        assert predict(["run", str(log), "--out", str(out), "--root", str(store.folder.parent)]) == 0
        scored.append(pl.read_parquet(out)["score"].to_numpy())
    found = np.sort(np.concatenate(scored))
    assert len(found) == ROWS
    expected = 1 / (1 + np.exp(-Scorer().score(Path("run"), "validation").logits.astype(np.float64)))
    place = np.clip(np.searchsorted(found, expected), 1, len(found) - 1)
    assert np.minimum(abs(found[place] - expected), abs(found[place - 1] - expected)).max() < 1e-6
