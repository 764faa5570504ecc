"""What was finished is deleted by nobody but the user."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mdaf.sweeper.runs.folder import RunFolder
from mdaf.sweeper.runs.reader import FinishedError
from tests.sweeper.inside import metrics, run

TYPED = ("training.train_sample=200", "training.epochs=1")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with a finished run and a finished grid."""
    folder = tmp_path_factory.mktemp("work")
    assert run(folder, *TYPED, "hydra.run.dir=one") == 0
    assert run(folder, "-m", *TYPED, "seed=1,2", "hydra.sweep.dir=grid") == 0
    return folder


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "typed",
    [
        ["hydra.run.dir=one", "seed=5"],
        ["hydra.run.dir=one"],
        ["-m", "seed=5", "hydra.sweep.dir=.", "hydra.sweep.subdir=one"],
        ["-m", "training.epochs=2", "seed=1,2", "hydra.sweep.dir=grid"],
    ],
    ids=["another run", "the same run", "a job of a grid", "a grid"],
)
def test_a_finished_run_is_not_overwritten(work: Path, capsys: pytest.CaptureFixture[str], typed: list[str]) -> None:
    before = files(work / "one") | files(work / "grid")
    assert run(work, *TYPED, *typed) == 2
    [said] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "holds a finished run, which is not overwritten; move it away" in said
    assert files(work / "one") | files(work / "grid") == before


def test_other_runs_of_a_grid_may_go_beside_finished_ones(work: Path) -> None:
    before = files(work / "grid")
    assert run(work, "-m", *TYPED, "seed=3", "hydra.sweep.dir=grid", "hydra.sweep.subdir=seed-${seed}") == 0
    now = files(work / "grid")
    assert {path: now[path] for path in before if path.suffix != ".yaml"} == {
        path: content for path, content in before.items() if path.suffix != ".yaml"
    }
    assert (work / "grid/seed-3/result.json").exists()


def test_a_folder_is_cleared_of_what_is_unfinished_alone(work: Path, tmp_path: Path) -> None:
    shutil.copytree(work / "one", tmp_path / "one")
    with pytest.raises(FinishedError):
        RunFolder(tmp_path / "one").clear()
    (tmp_path / "one/result.json").write_text("cut sho")  # nobody knows what it was
    with pytest.raises(FinishedError):
        RunFolder(tmp_path / "one").clear()
    (tmp_path / "one/result.json").unlink()
    (tmp_path / "one/scores_test.npz").write_bytes(b"of the run before")
    RunFolder(tmp_path / "one").clear()
    assert not {path.name for path in (tmp_path / "one").iterdir()} & {"best.pt", "metrics.csv", "scores_test.npz"}


@pytest.mark.parametrize(
    "lose",
    [lambda folder: (folder / "last.pt").unlink(), lambda folder: (folder / "last.pt").write_bytes(b"damaged")],
    ids=["missing", "damaged"],
)
def test_a_finished_run_whose_last_state_is_lost_is_not_begun_again(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], lose: Callable[[Path], Any]
) -> None:
    shutil.copytree(work / "one", tmp_path / "one")
    lose(tmp_path / "one")
    kept = metrics(tmp_path / "one")
    assert run(tmp_path, *TYPED, f"data.root={work}/runs/stores", "hydra.run.dir=one", "resume=auto") == 2
    assert "holds a finished run" in capsys.readouterr().err
    assert metrics(tmp_path / "one") == kept
    assert json.loads((tmp_path / "one/result.json").read_text())["state"] == "complete"


def test_fitted_trees_are_not_fitted_again(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trees = ["data=synthetic_tiny", "model=boosted", "training.epochs=1", "model.trees=2", "device=cpu"]
    assert run(work, *trees, "hydra.run.dir=trees", tiny=()) == 0
    before = (work / "trees/best.pt").read_bytes()
    capsys.readouterr()
    assert run(work, *trees, "hydra.run.dir=trees", "resume=auto", tiny=()) == 0
    assert "features of" not in capsys.readouterr().err
    assert (work / "trees/best.pt").read_bytes() == before


def test_nothing_goes_on_without_the_weights_of_the_best_epoch(work: Path, tmp_path: Path) -> None:
    """The state is that of the only epoch, so its weights are the best: they are written again."""
    shutil.copytree(work / "one", tmp_path / "one")
    (tmp_path / "one/result.json").unlink()
    (tmp_path / "one/best.pt").unlink()
    assert run(tmp_path, *TYPED, f"data.root={work}/runs/stores", "hydra.run.dir=one", "resume=auto") == 0
    assert metrics(tmp_path / "one") == metrics(work / "one")
    assert (tmp_path / "one/best.pt").exists()
