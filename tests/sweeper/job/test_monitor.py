"""Another metric than the validation AUC decides the best epoch; the figures of a finished run can be had again."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path
from typing import Any

import pytest

from mdaf.sweeper import evaluate
from mdaf.sweeper.job.split_figures import split_figures
from mdaf.sweeper.runs.checkpoint import read
from mdaf.sweeper.runs.reader import read_finished_run
from tests.sweeper.inside import run

MIDNIGHT = 1_704_067_200  # of 2024-01-01
RATE = "training.learning_rate=3e-2"  # at which the best epoch is another one by each metric
NEXT_CLICK_TINY = (
    *("model=din", "model.embedding={item: 8, other: 4}", "device=cpu"),
    *("training.batch_size=64", "training.learning_rate=5e-3", "training.train_sample=50"),
)
MONITORED = (
    "training.epochs=4",
    RATE,
    "training.train_sample=100",
    "training.monitor=val_loss",
    "criteria.min_val_auc=0.6",
)


def next_click_log(folder: Path) -> list[str]:
    """A log of clicks without labels, and what is typed to train on it."""
    draws, lines = random.Random(3), ["user,item,time"]
    for user in range(30):
        for visit in range(12):
            day, item = visit // 2, draws.randrange(12)
            lines.append(f"{user},{item},{MIDNIGHT + day * 86_400 + visit % 2 * 3600 + user}")
    (folder / "clicks.csv").write_text("\n".join(lines) + "\n")
    return [
        *("data=event_log", f"data.path={folder / 'clicks.csv'}", "data.negatives=3", "data.min_count={}"),
        *("data.validation_start=2024-01-05", "data.test_start=2024-01-06", "training.ranking_at=[1,2]"),
    ]


def row(folder: Path, epoch: int) -> dict[str, str]:
    with (folder / "metrics.csv").open(newline="") as file:
        return next(row for row in csv.DictReader(file) if int(row["epoch"]) == epoch)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work")
    assert run(folder, *MONITORED, "hydra.run.dir=by-loss") == 0
    return folder


def test_the_monitored_metric_decides_the_best_epoch_everywhere_that_a_run_says_it(work: Path) -> None:
    result = json.loads((work / "by-loss/result.json").read_text())
    finished = read_finished_run(work / "by-loss")
    losses = [epoch["val_loss"] for epoch in finished.history]
    aucs = [epoch["val_auc"] for epoch in finished.history]
    best = losses.index(min(losses)) + 1
    assert best != aucs.index(max(aucs)) + 1  # else nothing is shown
    assert (result["best_epoch"], result["objective"], result["monitor"]) == (best, min(losses), "val_loss")
    assert finished.best == result["best"]
    assert read(work / "by-loss/best.pt").history[-1]["epoch"] == best
    summary = (work / "by-loss/summary.txt").read_text()
    assert f"validation AUC at the best val loss >= 0.6: {aucs[best - 1]:.4f} in epoch {best}" in summary


def test_the_figures_of_validation_are_those_of_training_to_the_digit(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(work)
    files = sorted(path.stat().st_mtime_ns for path in (work / "by-loss").rglob("*"))
    found = split_figures(Path("by-loss"), "validation", resamples=50)
    best = json.loads((work / "by-loss/result.json").read_text())["best"]
    for name, figure in found.figures.items():
        assert figure.value == best[f"val_{name}"]
        assert name == "ece" or (figure.low is not None and figure.high is not None and figure.low < figure.high)
    assert found.figures["loss"].low < best["val_loss"] < found.figures["loss"].high  # type: ignore[operator]
    assert sorted(path.stat().st_mtime_ns for path in (work / "by-loss").rglob("*")) == files


def test_ranking_metrics_of_a_next_click_log_are_monitored_recorded_and_evaluated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = (*next_click_log(tmp_path), "training.monitor=ndcg@2", "training.epochs=2", "hydra.run.dir=ranked")
    assert run(tmp_path, *typed, tiny=NEXT_CLICK_TINY) == 0
    result = json.loads((tmp_path / "ranked/result.json").read_text())
    best: dict[str, Any] = result["best"]
    assert result["objective"] == best["ndcg@2"] == max(float(row(tmp_path / "ranked", n)["ndcg@2"]) for n in (1, 2))
    assert 0 < best["hr@1"] <= best["ndcg@2"] <= best["hr@2"] <= 1
    capsys.readouterr()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clicks.csv").unlink()  # the store is enough
    evaluate.main(["ranked", "--json", "--resamples", "20"])
    figures = json.loads(capsys.readouterr().out)["figures"]
    assert {name: figures[name]["value"] for name in ("hr@1", "ndcg@2", "mrr")} == {
        name: best[name] for name in ("hr@1", "ndcg@2", "mrr")
    }
    assert figures["mrr"]["low"] < best["mrr"] < figures["mrr"]["high"]
    evaluate.main(["ranked", "data.split=test", "training.ranking_at=[1,3]", "--resamples", "0"])
    said = capsys.readouterr().out
    assert "NDCG@3" in said
    assert "test: " in said
    assert len((tmp_path / "runs/test_reads.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("training.monitor=ndcg@10", "training.monitor: ndcg@10 does not exist on this data: it ranks the negatives"),
        ("training.monitor=val_aucs", "training.monitor: found val_aucs; did you mean val_auc?; expected a validation"),
        ("training.monitor=train_auc", "training.monitor: found train_auc"),
        ("sweep.objectives=[mrr]", "sweep.objectives: mrr does not exist on this data"),
    ],
)
def test_a_metric_that_the_data_cannot_give_is_refused_before_training(
    work: Path, capsys: pytest.CaptureFixture[str], typed: str, said: str
) -> None:
    assert run(work, typed, "hydra.run.dir=refused") == 2
    assert capsys.readouterr().err.strip().splitlines()[-1].startswith(f"error: {said}")
    assert not (work / "refused/metrics.csv").exists()


def test_a_sweep_of_a_loss_says_which_direction_to_type(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(work, "-m", "hydra/sweeper=regularization", "training.monitor=val_loss") == 2
    assert "hydra.sweeper.direction=minimize" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "nowhere: there is no such folder"),
        (["by-loss", "data.split=tset"], "data.split: found tset; did you mean test?"),
        (["by-loss", "data.spilt=test"], "found data.spilt=test; did you mean data.split?"),
        (["by-loss", "training.ranking_at=0"], "training.ranking_at: found 0, expected whole numbers"),
        (["by-loss", "data.root=elsewhere"], "elsewhere/synthetic-"),
        (["refused", "data.split=test"], "refused: holds no result.json, expected a finished run"),
    ],
)
def test_what_cannot_be_evaluated_is_one_line(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    monkeypatch.chdir(work)
    (work / "refused").mkdir(exist_ok=True)
    with pytest.raises(SystemExit) as end:
        evaluate.main(words)
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: {said}")
    assert not (work / "runs/test_reads.jsonl").exists()
