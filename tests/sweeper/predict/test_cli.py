"""``mdaf-predict`` writes a file of scores, or says in one line why it does not."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from omegaconf import OmegaConf

import mdaf
from mdaf.data.synthetic import Synthetic
from mdaf.processes import signals
from mdaf.sweeper.hydra_ext.run_config import config_hash
from mdaf.sweeper.predict.cli import main
from mdaf.sweeper.predict.predictor import Predictor
from tests.sweeper.predict.runs import SIZE, run_of
from tests.sweeper.tiny import composed

ROWS = pl.DataFrame(
    {
        "id": ["007", "x,y", 'a "b"', None, "5"],
        "user": [1, 2, 3, 1, 99999],
        "time": [1_512_100_000 + n for n in range(5)],
        "item": [5, 6, 7, 88888, None],
        "price": [1.5, None, 0.1, 1e-9, 2.0],
    }
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("work")
    return run_of(work / "run", composed("model=deepfm", f"data.root={work / 'stores'}", tiny=SIZE))


@pytest.fixture(scope="module")
def scores(run: Path) -> list[float]:
    return mdaf.load(run).predict(ROWS)["score"].to_list()


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line with which the command ends."""
    with pytest.raises(SystemExit, match="2"):
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    return line


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "csv.gz", "parquet"])
def test_columns_and_order_are_kept_in_every_format(
    ending: str, run: Path, scores: list[float], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = tmp_path / "rows.csv"
    ROWS.write_csv(given)
    out = tmp_path / f"scores.{ending}"
    assert main([str(run), str(given), "--out", str(out), "--rows", "3", "--batch-size", "4096"]) == 0
    assert capsys.readouterr() == (f"{out}: 5 rows\n", "")
    read: dict[str, Callable[..., pl.DataFrame]] = {"jsonl": pl.read_ndjson, "parquet": pl.read_parquet}
    found = (
        read[ending](out)
        if ending in read
        else pl.read_csv(out, separator="\t" if ending == "tsv" else ",", infer_schema=False)
    )
    assert found.columns == [*ROWS.columns, "score"]
    assert found["id"].to_list() == ROWS["id"].to_list()
    assert found["score"].cast(pl.Float64).to_list() == pytest.approx(scores, abs=1e-6)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.csv", out.name]


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "csv.gz", "parquet"])
def test_the_same_line_typed_twice_replaces_its_scores_and_no_other_file(
    ending: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given, out = tmp_path / "rows.csv", tmp_path / f"scores.{ending}"
    ROWS.write_csv(given)
    line = [str(run), str(given), "--out", str(out)]
    assert main(line) == main(line) == 0
    capsys.readouterr()
    ours = out.read_bytes()
    others = gzip.compress(given.read_bytes()) if ending == "csv.gz" else given.read_bytes()
    ROWS.write_parquet(out) if ending == "parquet" else out.write_bytes(others)
    kept = out.read_bytes()
    said = f"error: --out {out}: is there already, and is no file with score as its last column; choose another name"
    assert refused(capsys, *line).startswith(said)
    assert out.read_bytes() == kept != ours
    out.write_bytes(b"")
    assert main(line) == 0  # an empty file holds nothing that could be lost


def test_a_device_is_not_replaced_by_a_file_of_scores(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ROWS.write_csv(tmp_path / "rows.csv")
    os.mkfifo(tmp_path / "pipe.csv")
    assert "is no file; expected the name of a file" in refused(
        capsys, run, tmp_path / "rows.csv", "--out", tmp_path / "pipe.csv"
    )


def test_a_parquet_file_keeps_its_types(run: Path, scores: list[float], tmp_path: Path) -> None:
    given = tmp_path / "rows.parquet"
    nested = ROWS.with_columns(tags=pl.Series([[1], [], None, [2, 3], [4]]), day=pl.from_epoch("time").dt.date())
    nested.write_parquet(given)
    assert main([str(run), str(given), "--out", str(tmp_path / "s.parquet"), "--score", "p", "--device", "cpu"]) == 0
    found = pl.read_parquet(tmp_path / "s.parquet")
    assert found.drop("p").equals(nested)
    assert found["p"].to_list() == scores


def test_a_mistake_is_one_line_and_leaves_no_file(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, out = tmp_path / "rows.csv", tmp_path / "scores.csv"
    ROWS.write_csv(rows)
    ROWS.drop("item").rename({"user": "userid"}).write_csv(tmp_path / "others.csv")
    ROWS.with_columns(time=pl.lit("soon")).write_csv(tmp_path / "times.csv")
    ROWS.with_columns(user=pl.lit("anna")).write_csv(tmp_path / "names.csv")
    ROWS.with_columns(score=0.5).write_csv(tmp_path / "scored.csv")
    (tmp_path / "wide.csv").write_text("user,item,time\n1,2,3\n1,2,3,4\n")
    (tmp_path / "empty.csv").write_text("")
    cases = {
        ("no.csv",): "no.csv does not exist; expected a file of rows",
        ("others.csv",): "others.csv has no column 'user': its first line begins 'id,userid,time,price'",
        ("times.csv",): "times.csv, line 2: column 'time' holds 'soon'; expected a time (seconds)",
        ("names.csv",): "names.csv, line 2: column 'user' holds 'anna'; expected a number",
        ("scored.csv",): "scored.csv has a column 'score' already; choose another name",
        ("wide.csv",): "wide.csv, line 3: too many fields",
        ("empty.csv",): "empty.csv is empty",
        ("rows.csv", "--events", str(rows)): "rows.csv has no column 'behaviour'",
        ("rows.csv", "--device", "tpu"): "device.name: found tpu",
        ("rows.csv", "--rows", "0"): "--rows 0: expected at least 1",
    }
    for (name, *options), expected in cases.items():
        line = refused(capsys, run, tmp_path / name, "--out", out, *options)
        assert line.startswith("error: ")
        assert expected in line, line
    assert "ends in one of .parquet" in refused(capsys, run, rows, "--out", tmp_path / "scores.xlsx")
    assert "there is no folder" in refused(capsys, run, rows, "--out", tmp_path / "no/scores.csv")
    assert "which is read" in refused(capsys, run, rows, "--out", rows)
    assert not list(tmp_path.glob("*scores.*"))


@pytest.mark.parametrize("lost", [False, True])
def test_a_signal_ends_the_command_and_leaves_no_file_even_if_python_drops_its_exception(
    lost: bool, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(self: Predictor, encoder: object, typed: pl.DataFrame) -> np.ndarray:
        with suppress(signals.Interrupted) if lost else nullcontext():
            signal.raise_signal(signal.SIGTERM)
        return np.full(len(typed), 0.5)

    monkeypatch.setattr(Predictor, "_scores", interrupted)
    ROWS.write_csv(tmp_path / "rows.csv")
    for name in ("scores.csv", "scores.parquet"):
        with pytest.raises(SystemExit, match="75"):
            main([str(run), str(tmp_path / "rows.csv"), "--out", str(tmp_path / name), "--rows", "2"])
        assert capsys.readouterr().err.startswith("interrupted by SIGTERM; nothing is left half written")
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]


def test_a_store_that_is_not_there_is_one_line_that_says_how_to_prepare_it(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    typed = ["data=synthetic_tiny", "data.seed=3", "model=din", "data._target_=os.system"]
    (copy / ".hydra/overrides.yaml").write_text(json.dumps(typed))
    rows, out = tmp_path / "rows.csv", tmp_path / "scores.csv"
    ROWS.write_csv(rows)
    line = refused(capsys, copy, rows, "--out", out, "--root", tmp_path)
    assert "is not there: the store that" in line
    assert line.endswith("prepare data=synthetic_tiny data.seed=3")
    (store,) = run.parent.glob("stores/synthetic-*")
    moved = shutil.copytree(store, tmp_path / "moved")
    assert main([str(copy), str(rows), "--out", str(out), "--store", str(moved)]) == 0
    capsys.readouterr()
    assert "the store is damaged" in refused(capsys, copy, rows, "--out", out, "--store", _cut(moved))


def _cut(store: Path) -> Path:
    (store / "events.time.npy").write_bytes(b"")
    return store


def test_the_config_of_somebody_elses_run_may_name_no_code(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = tmp_path / "rows.csv"
    ROWS.write_csv(rows)
    for group in ("model", "data"):
        copy = shutil.copytree(run, tmp_path / group)
        config = OmegaConf.load(copy / ".hydra/config.yaml")
        config[group] = {"_target_": "subprocess.call", "args": [["touch", str(tmp_path / "here")]]}
        OmegaConf.save(config, copy / ".hydra/config.yaml")
        result = json.loads((copy / "result.json").read_text())
        (copy / "result.json").write_text(json.dumps({**result, "config_hash": config_hash(config)}))  # type: ignore[arg-type]
        line = refused(capsys, copy, rows, "--out", tmp_path / "scores.csv")
        assert not (tmp_path / "here").exists()
        assert f"{group}._target_" in line or "config hash" in line, line


def test_a_source_that_does_not_describe_new_rows_is_one_line(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(Synthetic, "new_rows")
    line = refused(capsys, run, "rows.csv", "--out", tmp_path / "scores.csv")
    assert "its source, synthetic, does not say how new rows are written; give its class a method new_rows" in line
