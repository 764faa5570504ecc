"""What was computed from a checkpoint counts for that checkpoint alone, and what is read back was checked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mdaf import conf
from mdaf.errors import UserError
from mdaf.multirun.analysis.rows.scores import (
    NotFiniteError,
    Scorer,
    read_scores,
    score_runs,
    scores_file,
)
from mdaf.multirun.launching.table import collect, show
from mdaf.multirun.report.summarize import summary
from mdaf.multirun.report.verify import verify
from mdaf.sweeper.runs.test_reads import reads_of_test
from mdaf.sweeper.study.comparison import compare, run_from_folder
from tests.multirun.fakes import history, write_run
from tests.sweeper.inside import run
from tests.sweeper.tiny import composed

TYPED = ("training.train_sample=200", "training.epochs=1", "data.test_rows=200")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with the runs ``one`` and ``other``, which differ in their seed, and their scores."""
    folder = tmp_path_factory.mktemp("work")
    conf.register()
    for seed, name in enumerate(("one", "other")):
        assert run(folder, *TYPED, f"seed={seed}", f"hydra.run.dir=runs/{name}") == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for split in ("validation", "test"):
            score_runs([Path("runs/one"), Path("runs/other")], split, Path("log"))
    return folder


@pytest.fixture
def work(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it to be spoilt."""
    shutil.copytree(trained / "runs", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


def test_scores_of_the_run_that_was_in_a_folder_before_count_for_nothing(work: Path) -> None:
    kept = read_scores(work / "other", "test")
    assert kept is not None
    for file in ("best.pt", "result.json", "metrics.csv", ".hydra/config.yaml"):  # as one that was trained there anew
        shutil.copy(work / "other" / file, work / "one" / file)
    assert read_scores(work / "one", "test") is None
    assert next(iter(summary([work / "one"], None).figures.runs.values())).test_auc is None
    assert score_runs([work / "one"], "test", work) == 1
    anew = read_scores(work / "one", "test")
    assert anew is not None
    assert np.array_equal(anew.logits, kept.logits)


def test_left_out_scores_are_named_once_by_whichever_path_they_are_met(
    work: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copy(scores_file(work / "other", "test"), scores_file(work / "one", "test"))
    for folder in (Path("runs/one"), work / "one", work / "other" / ".." / "one"):
        assert read_scores(folder, "test") is None
    assert [record.getMessage().partition(" holds")[0] for record in caplog.records] == ["runs/one/scores_test.npz"]


def test_scores_that_name_no_checkpoint_are_computed_again(work: Path) -> None:
    file = scores_file(work / "one", "test")
    with np.load(file) as held:
        kept = {name: held[name] for name in ("logits", "labels", "users")}
    np.savez(file, **(kept | {"logits": -kept["logits"]}))
    assert score_runs([work / "one"], "test", work) == 1
    found = read_scores(work / "one", "test")
    assert found is not None
    assert np.array_equal(found.logits, kept["logits"])


def flipped(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda runs: flipped(runs / "one/best.pt"), "found no whole checkpoint"),
        (lambda runs: (runs / "one/best.pt").write_bytes(b""), "found no whole checkpoint"),
        (lambda runs: shutil.copy(runs / "other/best.pt", runs / "one/best.pt"), "its config hash is .* another run"),
        (lambda runs: shutil.copy(runs / "one/last.pt", runs / "one/best.pt"), None),  # the very same state
        (lambda runs: shutil.copy(runs / "other/.hydra/config.yaml", runs / "one/.hydra"), "config.yaml: its hash is"),
    ],
    ids=["flipped bit", "empty", "of another run", "the same state", "config of another run"],
)
def test_a_checkpoint_is_scored_only_if_it_is_whole_and_the_runs_own(
    work: Path, spoil: Callable[[Path], Any], message: str | None
) -> None:
    spoil(work)
    if message is None:
        assert len(Scorer().score(work / "one", "test").logits) == 200
        return
    with pytest.raises(UserError, match=message) as refused:
        Scorer().score(work / "one", "test")
    assert "\n" not in str(refused.value)


def test_a_checkpoint_that_was_exchanged_is_named_by_a_plain_verify(work: Path) -> None:
    summary([work], work / "report")
    assert verify(work / "report/report.json") == []
    shutil.copy(work / "other/best.pt", work / "one/best.pt")
    figures = [difference.figure for difference in verify(work / "report/report.json")]
    assert "one: SHA-256 of best.pt" not in figures
    assert any(figure.endswith(": SHA-256 of best.pt") for figure in figures)
    assert any(figure.endswith(".test_auc") for figure in figures)
    deep = verify(work / "report/report.json", deep=True)
    assert any("another run" in str(difference.found) for difference in deep)


@pytest.mark.parametrize("with_scores", [False, True], ids=["alone", "with its scores"])
def test_a_report_takes_no_run_whose_checkpoint_is_not_the_one_that_it_ended_with(
    work: Path, with_scores: bool
) -> None:
    for file in ("best.pt", *(["scores_test.npz"] if with_scores else [])):
        shutil.copy(work / "other" / file, work / "one" / file)
    with pytest.raises(UserError, match=r"one/best\.pt: its SHA-256 is .* of another run"):
        summary([work], work / "report")
    assert not (work / "report").exists()


def test_scores_that_are_cut_are_computed_again_and_infinite_ones_refused(work: Path) -> None:
    file = scores_file(work / "one", "test")
    whole = file.read_bytes()
    for content in (b"", whole[:100], whole[: len(whole) // 2], whole[:-3], b"PK\x03\x04 and so on"):
        file.write_bytes(content)
        assert read_scores(work / "one", "test") is None
    assert score_runs([work / "one"], "test", work) == 1
    with np.load(file) as held:
        np.savez(file, **{name: held[name] for name in held} | {"logits": held["logits"] * np.nan})
    with pytest.raises(NotFiniteError, match="the run diverged"):
        read_scores(work / "one", "test")


# ---- runs of two logs


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory, trained: Path) -> Path:
    """Two runs of one configuration on two seeds, and their report."""
    folder = tmp_path_factory.mktemp("reported")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(trained)  # the store is there
        for seed in (1, 2):
            write_run(folder / f"seed-{seed}", composed(f"seed={seed}"), history(0.7))
        summary([folder], folder / "report")
    return folder


@pytest.fixture
def fakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: Path, reported: Path) -> Path:
    """A copy of them to be spoilt; where the runs were evaluated is in their result."""
    monkeypatch.chdir(trained)
    shutil.copytree(reported, tmp_path, dirs_exist_ok=True)
    return tmp_path


def on_other_data(folder: Path) -> None:
    result = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps(result | {"data_hash": "e" * 32}))


def test_runs_of_two_logs_are_not_compared(fakes: Path) -> None:
    one, two = fakes / "seed-1", fakes / "seed-2"
    assert compare(run_from_folder(one), run_from_folder(two))
    assert len({row["configuration"] for row in collect([one, two])}) == 1
    on_other_data(two)
    with pytest.raises(UserError, match=r"seed-2: were trained and evaluated on different data"):
        summary([fakes], None)
    with pytest.raises(UserError, match="were evaluated on different data"):
        compare(run_from_folder(one), run_from_folder(two))
    report = json.loads((fakes / "report/report.json").read_text())  # as one that was written before this was refused
    report["inputs"]["runs"][1]["data_hash"] = "e" * 32
    (fakes / "report/report.json").write_text(json.dumps(report))
    with pytest.raises(UserError, match="different data"):
        verify(fakes / "report/report.json")
    assert len({row["configuration"] for row in collect([one, two])}) == 2


def test_a_table_leaves_out_a_damaged_run_and_says_of_several_commits(
    fakes: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    one, two = fakes / "seed-1", fakes / "seed-2"
    show(collect([one, two]), "both")
    assert "commit" not in capsys.readouterr().out
    result = json.loads((two / "result.json").read_text())
    (two / "result.json").write_text(json.dumps(result | {"commit": "d" * 40}))
    show(collect([one, two]), "both")
    assert "1 run of commit cccccccccccc and 1 run of commit dddddddddddd" in capsys.readouterr().out
    (two / "result.json").write_text("{")
    assert [row["run"] for row in collect([one, two])] == ["seed-1"]
    assert "seed-2/result.json is damaged" in caplog.text


def test_damaged_scores_are_said_once_however_often_they_are_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "scores_test.npz").write_bytes(b"cut")
    assert [read_scores(tmp_path, "test") for _ in range(3)] == [None] * 3
    assert caplog.text.count("scores_test.npz is damaged") == 1


# ---- what is read back


DAMAGES = {
    "empty": lambda content: b"",
    "cut": lambda content: content[: 2 * len(content) // 3],
    "no text": lambda content: b"\xff\xfe\x00" * 9,
    "a list": lambda content: b"[]\n",
    "an empty object": lambda content: b"{}\n",
    "too deep": lambda content: b"[" * 100_000,
    "other types": lambda content: b'{"state": 1, "seed": "x", "best": [1], "format": 1, "inputs": 3, "figures": []}',
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["result.json", "metrics.csv", ".hydra/config.yaml", "report/report.json"])
def test_a_damaged_file_is_one_line_that_names_it(fakes: Path, name: str, damage: str) -> None:
    folder, report = fakes / "seed-1", fakes / "report/report.json"
    file = report if name.startswith("report/") else folder / name
    file.write_bytes(DAMAGES[damage](file.read_bytes()))
    read: Callable[[], Any] = (lambda: verify(report)) if file == report else (lambda: summary([fakes], None))
    with pytest.raises(UserError) as refused:
        read()
    assert "\n" not in str(refused.value)
    assert str(file.parent) in str(refused.value)


def test_a_result_and_metrics_that_disagree_are_not_reported(fakes: Path) -> None:
    file = fakes / "seed-1/metrics.csv"
    file.write_text(file.read_text().replace("0.7,", "1.05,"))
    with pytest.raises(UserError, match=r"result.json says val_auc 0.7 .* metrics.csv says 1.05"):
        summary([fakes], None)


def test_a_damaged_log_of_reads_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "test_reads.jsonl").write_text('{"time": 1}\n{"ti')
    with pytest.raises(UserError, match=r"test_reads\.jsonl is damaged"):
        reads_of_test(tmp_path)
