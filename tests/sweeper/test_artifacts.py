"""Run folders are found again by URL on a machine that has none of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import optuna
import pytest
from optuna.trial import create_trial
from typer.testing import CliRunner

from sweeper import artifacts
from sweeper.errors import UserError
from sweeper.storage import open_storage
from sweeper.study import app


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "runs/studies/s/0"
    (folder / ".hydra").mkdir(parents=True)
    (folder / "result.json").write_text("{}")
    (folder / ".hydra/config.yaml").write_text("seed: 1")
    return folder


def test_a_run_folder_that_is_not_here_is_fetched_whole_by_the_study_query(
    tmp_path: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = artifacts.url_of(f"file://{tmp_path}/store/", "s", 0)
    artifacts.leave(run, url)
    shutil.rmtree(tmp_path / "runs")
    address = f"sqlite:///{tmp_path}/s.db"
    study = optuna.create_study(storage=open_storage(address, create=True), study_name="s")
    attributes = {"run_dir": "runs/studies/s/0", artifacts.ARTIFACTS: url}
    study.add_trial(create_trial(value=1.0, user_attrs=attributes))
    monkeypatch.chdir(tmp_path)
    end = CliRunner().invoke(app, ["fetch", "--storage", address])
    assert end.exit_code == 0, end.output
    assert "trial 0: 2 files" in end.stdout
    assert (run / ".hydra/config.yaml").read_text() == "seed: 1"
    assert [path.name for path in run.parent.iterdir()] == ["0"]
    assert CliRunner().invoke(app, ["fetch", "--storage", address]).stdout == ""


def test_a_copy_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no copy of a run folder"):
        artifacts.fetch(f"file://{tmp_path}/store/s/7", tmp_path / "7")
    assert not (tmp_path / "7").exists()


def test_a_store_that_is_unknown_is_one_line_before_any_work() -> None:
    with pytest.raises(UserError, match=r"sweep\.artifacts: nowhere://bucket cannot be opened"):
        artifacts.check("nowhere://bucket")


def test_a_store_that_takes_nothing_ends_no_run(tmp_path: Path, run: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "store").write_text("a file in its place")
    artifacts.leave(run, f"file://{tmp_path}/store/s/0")
    assert "the run folder could not be copied" in caplog.text
