"""Run folders are found again by URL on a machine that has none of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import optuna
import pytest
from optuna.trial import create_trial
from typer.testing import CliRunner

from mdaf.errors import UserError
from mdaf.sweeper.storage.opening import open_storage
from mdaf.sweeper.study.cli import app
from mdaf.sweeper.trials.admitted import came_from_elsewhere
from mdaf.sweeper.trials.attaching import artifacts


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
    untyped = CliRunner().invoke(app, ["fetch", "--storage", address])
    assert untyped.exit_code == 2
    assert f"mdaf-study fetch --study s --from file://{tmp_path}/store" in untyped.stderr
    end = CliRunner().invoke(app, ["fetch", "--storage", address, "--from", f"file://{tmp_path}/store"])
    assert end.exit_code == 0, end.output
    assert "trial 0: 2 files" in end.stdout
    assert (run / ".hydra/config.yaml").read_text() == "seed: 1"
    assert [path.name for path in run.parent.iterdir()] == ["0"]
    again = CliRunner().invoke(app, ["fetch", "--storage", address])
    assert "nothing to fetch, every run folder that sweep.artifacts copied is here" in again.stdout
    assert came_from_elsewhere(run)  # what it says was not typed here


@pytest.mark.parametrize("said", ["/etc/cron.d/0", "../../0", ".ssh/0", "runs/studies/other/0"])
def test_a_run_folder_elsewhere_is_written_only_where_it_is_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    trial = create_trial(value=1.0, user_attrs={"run_dir": said, artifacts.ARTIFACTS: "file:///etc"})
    with pytest.raises(UserError, match="mdaf-study fetch --to FOLDER"):
        artifacts.missing("s", [trial], "file:///srv", None)
    [(_, folder, url)] = artifacts.missing("s", [trial], "file:///srv", Path("mine"))
    assert (folder, url) == (Path(f"mine/{trial.number}"), f"file:///srv/s/{trial.number}")


def test_a_store_whose_files_leave_the_run_folder_is_refused_and_nothing_is_kept(
    tmp_path: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    for name in ("/store/s/0/result.json", "/store/s/0/../../../evil.txt"):
        MemoryFileSystem.store[name] = MemoryFileSystem().open("/x", "wb")
    with pytest.raises(UserError, match=r"evil\.txt' lies outside of the run folder"):
        artifacts.fetch("memory://store/s/0", tmp_path / "deep/er/0")
    MemoryFileSystem.store.clear()
    (tmp_path / "secret").write_text("of this machine")
    (run / "train.log").symlink_to(tmp_path / "secret")
    with pytest.raises(UserError, match=r"train\.log' lies outside of the run folder"):
        artifacts.fetch(f"file://{run}", tmp_path / "deep/er/0")
    assert not (tmp_path / "evil.txt").exists()
    assert not list(tmp_path.glob("deep/er/*"))


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
