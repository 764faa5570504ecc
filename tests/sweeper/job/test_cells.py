"""A log whose signal lies in numbers and lists alone is learned nearly as well as its true probabilities allow."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mdaf.data.inspecting.baselines import auc
from tests.model.zoo import MODELS
from tests.sweeper.inside import run

USERS, ROWS = 1500, 15_000
START = 1_600_000_000
TAGS = {"red": 1.2, "green": -1.2, "blue": 0.5, "old": -0.7, "new": 0.0}
CLOSE = 0.02  # of the oracle's AUC

LOG = (
    "data=event_log",
    "data.path=log.csv",
    "data.columns.label=clicked",
    "data.history=all",
    "data.length=1",
    "data.event_fields=[seconds,marks]",
    "data.numeric_fields=[price,seconds]",
    'data.list_fields={tags: "|", marks: "|"}',
    "device=cpu",
    "training.batch_size=512",
    "training.learning_rate=3e-3",
    "training.epochs=4",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds ``log.csv``, and in ``oracle`` the AUC of the true probabilities on its validation split.

    A click depends on the sample's price and tags, and on the seconds and marks of the user's last event; on nothing
    else.
    """
    path, draw = tmp_path_factory.mktemp("cells"), np.random.default_rng(0)
    price, seconds = draw.lognormal(3, 0.5, ROWS), draw.gamma(3, 20, ROWS)
    has = draw.random((2, ROWS, len(TAGS))) < 0.4
    tags, marks = ([[tag for tag, own in zip(TAGS, row, strict=True) if own] for row in lists] for lists in has)
    effect = 2 * has @ np.array(list(TAGS.values())) / np.maximum(1, has.sum(axis=-1))
    earlier = np.roll((seconds - 60) / 35 + effect[1], USERS)  # of the user's event before
    earlier[:USERS] = 0
    probability = 1 / (1 + np.exp(0.5 - 1.2 * (np.log(price) - 3) / 0.5 - effect[0] - earlier))
    clicked = (draw.random(ROWS) < probability).astype(int)
    pl.DataFrame(
        {
            "user": np.arange(ROWS) % USERS,
            "item": draw.integers(40, size=ROWS),
            "time": START + 60 * np.arange(ROWS),
            "clicked": clicked,
            "price": price,
            "seconds": seconds,
            "tags": ["|".join(names) for names in tags],
            "marks": ["|".join(names) for names in marks],
        }
    ).write_csv(path / "log.csv")
    validation = slice(int(0.8 * ROWS), int(0.9 * ROWS))
    (path / "oracle").write_text(str(auc(clicked[validation], probability[validation])))
    return path


def reached(folder: Path, numeric: str, model: str, *overrides: str) -> float:
    """The validation AUC of a run, less the oracle's."""
    name = f"{model}_{numeric}_{len(overrides[0])}"
    run_dir = f"hydra.run.dir={name}"
    assert run(folder, *LOG, f"data.numeric={numeric}", f"model={model}", run_dir, *overrides, tiny=()) == 0
    best = json.loads((folder / name / "result.json").read_text())["best"]["val_auc"]
    return best - float((folder / "oracle").read_text())


@pytest.mark.parametrize("numeric", ["buckets", "vector"])
def test_a_small_model_comes_close_to_the_oracle(folder: Path, numeric: str) -> None:
    fields = ("data.context_fields=[price,tags]", "model.without=[user,item]")
    small = (
        "model.embedding=8",
        "model.cross_layers=1",
        "model.deep=[32]",
        "training.epochs=3",
        "training.train_sample=1000",
    )
    assert abs(reached(folder, numeric, "dcnv2", *fields, *small)) < CLOSE


@pytest.mark.slow
@pytest.mark.parametrize("numeric", ["buckets", "vector"])
@pytest.mark.parametrize("model", MODELS)
def test_every_model_comes_close_to_the_oracle_with_fields_that_events_and_candidate_share(
    folder: Path, model: str, numeric: str
) -> None:
    assert abs(reached(folder, numeric, model, "data.item_fields=[price,tags]", "model.without=[user]")) < CLOSE
