"""A trained model scores rows as evaluation scored them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

import mdaf
from mdaf.errors import UserError
from mdaf.multirun.analysis.rows.scores import Scorer
from mdaf.sweeper.predict.predictor import Predictor
from tests.data.new_rows.test_encoding import rows_of
from tests.model.zoo import MODELS
from tests.sweeper.predict.runs import SIZE, run_of
from tests.sweeper.tiny import composed

SMALLER = {
    "boosted": ("model.trees=5", "model.samples_per_leaf=20"),
    "mdaf_mamba": ("model.scan=reference", "model.sequence.layers=1"),
    "mamba4rec": ("model.scan=reference", "model.sequence.layers=1"),
    "mdaf_mamba2": ("model.sequence.layers=1",),
}


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


def made(work: Path, model: str) -> Path:
    """A run of a model, made when it is first asked for; all runs share a store."""
    folder = work / model
    if not folder.exists():
        run_of(folder, composed(f"model={model}", f"data.root={work / 'stores'}", *SMALLER.get(model, ()), tiny=SIZE))
    return folder


def evaluated(folder: Path, split: str) -> np.ndarray:
    """The probabilities of a split's rows, as evaluation scores them."""
    return 1 / (1 + np.exp(-Scorer().score(folder, split).logits.astype(np.float64)))


@pytest.mark.parametrize("model", MODELS)
def test_the_rows_of_a_split_get_the_scores_of_evaluation_to_the_digit(work: Path, model: str) -> None:
    folder = made(work, model)
    predictor = mdaf.load(folder)
    expected = evaluated(folder, "validation")
    assert np.unique(expected).size > len(expected) // 4
    rows = rows_of(predictor.store, "validation", ("user", "item"))
    found = predictor.predict(rows)
    assert found.columns == [*rows.columns, "score"]
    assert found["score"].to_list() == expected.tolist()


@pytest.fixture(scope="module")
def din(work: Path) -> Predictor:
    return mdaf.load(made(work, "din"))


def test_the_order_of_the_rows_changes_no_digit(work: Path, din: Predictor) -> None:
    expected = evaluated(made(work, "din"), "test")
    rows = rows_of(din.store, "test", ("user", "item")).with_row_index("note")
    shuffled = din.predict(rows.sample(fraction=1.0, shuffle=True, seed=1))
    assert shuffled["score"].to_list() == expected[shuffled["note"].to_numpy()].tolist()


def test_blocks_and_batches_change_a_score_by_rounding_alone(work: Path, din: Predictor) -> None:
    rows = rows_of(din.store, "validation", ("user", "item", "category"))
    expected = evaluated(made(work, "din"), "validation")
    blocks = list(din.scored(rows, rows_at_once=40, score="p"))
    assert [len(block) for block in blocks] == [40, 40, 40, 30]
    found = pl.concat(blocks)
    assert found.drop("p").equals(rows)
    assert np.allclose(found["p"], expected, rtol=0, atol=1e-6)
    small = mdaf.load(made(work, "din"), batch_size=7)
    assert np.allclose(small.predict(rows)["score"], expected, rtol=0, atol=1e-6)


def test_a_frame_of_pandas_comes_back_as_one_with_its_index(din: Predictor) -> None:
    rows = rows_of(din.store, "validation", ("user", "item")).cast(pl.Int64)
    frame = pd.DataFrame(rows.to_dict(as_series=False), index=np.arange(len(rows)) + 7)
    frame["user"] = frame["user"].astype(float)
    found = din.predict(frame)
    assert found.index.equals(frame.index)
    assert found.drop(columns="score").equals(frame)
    assert found["score"].tolist() == din.predict(rows)["score"].to_list()


def test_a_frame_without_rows_gets_an_empty_column(din: Predictor) -> None:
    found = din.predict(pl.DataFrame(schema={"user": pl.Int64, "item": pl.Int64, "time": pl.Int64}))
    assert (len(found), found.schema["score"]) == (0, pl.Float64)


def test_a_score_never_replaces_a_column(din: Predictor) -> None:
    rows = pl.DataFrame({"user": [1], "item": [2], "time": [0], "score": [0.5]})
    with pytest.raises(UserError, match="has a column 'score' already"):
        din.predict(rows)
    assert din.predict(rows, score="p").columns == ["user", "item", "time", "score", "p"]


def test_a_run_of_a_device_that_is_not_here_is_scored_on_one_that_is(work: Path, tmp_path: Path) -> None:
    away = run_of(tmp_path / "run", composed("model=din", f"data.root={work / 'stores'}", "device.name=mps", tiny=SIZE))
    rows = pl.DataFrame({"user": [1], "item": [2], "time": [0]})
    assert 0 < mdaf.load(away).predict(rows)["score"][0] < 1
    with pytest.raises(UserError, match=r"device\.name: found cuda:77"):
        mdaf.load(away, device="cuda:77")
