"""``mdaf-export``: what is written about a run's model, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mdaf import extras
from mdaf.data.preparing.prepare import prepare_config
from mdaf.data.schema import UNKNOWN
from mdaf.data.store.device_store import DeviceStore
from mdaf.data.store.event_store import EventStore
from mdaf.multirun.analysis.rows.scores import Scorer
from mdaf.sweeper.export.checks import TOLERANCE
from mdaf.sweeper.export.cli import main
from mdaf.sweeper.runs.reader import checkpoint_digest, read_config
from tests.sweeper.predict.runs import SIZE, run_of
from tests.sweeper.tiny import composed


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of DIN with small widths and random weights: quick to trace, and it reads each event."""
    work = tmp_path_factory.mktemp("work")
    widths = ("model.embedding={item: 8, other: 4}", "model.attention=[8]", "model.head=[8]")
    return run_of(work / "run", composed("model=din", f"data.root={work / 'stores'}", *widths, tiny=SIZE))


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The line that the command ends with."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    return said


def gaps_by(edges: list[int], store: EventStore, shape: tuple[int, ...]) -> np.ndarray:
    """The ids of the gaps of validation, from times and the edges alone."""
    samples, found = store.samples["validation"], np.zeros(shape, dtype=np.int64)
    for row, (time, end, user) in enumerate(zip(samples.time, samples.end, samples.user, strict=True)):
        seen = store.time[max(store.user_offsets[user], end - shape[1]) : end]
        found[row, : len(seen)] = 1 + np.searchsorted(edges, time - seen, side="right")
    return found


def test_another_program_gives_raw_rows_the_scores_of_evaluation(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra [onnx] is not installed")
    pytest.importorskip("onnxscript", reason="the extra [onnx] is not installed")
    out = tmp_path / "out"
    assert main([str(run), "--out", str(out), "--vocabularies"]) == 0
    assert "onnx: the largest difference from the model is " in capsys.readouterr().out

    said = json.loads((out / "model.json").read_text())
    store = prepare_config(read_config(run).data)
    assert said["data"]["data_hash"] == store.data_hash
    assert said["run"]["checkpoint"] == checkpoint_digest(run)

    gathered = DeviceStore(store, "cpu")
    samples = gathered.gather("validation", gathered.rows("validation")[None])
    raw = store.vocabulary("item")[store.samples["validation"].static["item"] - 2]
    ids = pl.read_parquet(out / said["vocabularies"]["item"])
    coded = pl.DataFrame({"value": raw}).join(ids, on="value", how="left", maintain_order="left")["id"]
    every = {
        f"{of}.{name}": part[0].numpy() for of in ("static", "sequence") for name, part in getattr(samples, of).items()
    }
    every["sequence.gap"] = gaps_by(said["gap_edges"], store, every["sequence.gap"].shape)
    assert said["data"]["utc_offset_hours"] == 8
    every |= {"lengths": samples.lengths[0].numpy(), "static.item": coded.fill_null(UNKNOWN).to_numpy()}
    feed = {one["name"]: every[one["name"]].astype(one["dtype"]) for one in said["inputs"]}
    (scores,) = onnxruntime.InferenceSession(str(out / "model.onnx")).run(["score"], feed)
    expected = 1 / (1 + np.exp(-Scorer().score(run, "validation").logits))
    assert np.abs(scores - expected).max() <= TOLERANCE


def test_a_mistake_is_one_line_and_nothing_is_written(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path / "there"
    there.mkdir()
    new = str(tmp_path / "new")
    assert f"--out {there}: is there already" in refused([str(run), "--out", str(there)], capsys)
    assert "there is no folder" in refused([str(run), "--out", str(tmp_path / "no" / "new")], capsys)
    assert "--format tflite: expected onnx, torch or" in refused([str(run), "--out", new, "--format", "tflite"], capsys)
    assert "holds no result.json" in refused([str(tmp_path), "--out", new, "--format", "torch"], capsys)
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name.startswith("onnx") else object())
    assert "needs the extra [onnx], of which onnx, onnxscript, onnxruntime are not installed" in refused(
        [str(run), "--out", new], capsys
    )
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
