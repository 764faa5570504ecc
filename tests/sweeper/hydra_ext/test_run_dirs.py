"""The folder of a command's run: its own, or with ``resume=auto`` the newest run's of the same command."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hydra.types import RunMode
from omegaconf import OmegaConf

from mdaf.sweeper.hydra_ext import run_dirs as place
from mdaf.sweeper.hydra_ext.run_dirs import run_folder_for
from tests.sweeper.inside import run

SECOND = "runs/single/2026-11-23/10-30-00"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def new(folder: str = SECOND, *typed: str, resume: str = "never", kind: str = "run") -> Path:
    """The folder of a run that begins, with what Hydra writes into it."""
    found = Path(run_folder_for(resume, kind, folder, typed, RunMode.RUN))
    file, keys = place.TYPED_IN[kind]
    content = list(typed)
    for key in reversed(keys):
        content = {key: content}  # type: ignore[assignment]
    (found / file).parent.mkdir(exist_ok=True, parents=True)
    OmegaConf.save(OmegaConf.create(content), found / file)
    return found


@pytest.mark.parametrize("kind", ["run", "multirun"])
def test_runs_that_begin_in_the_same_second_have_folders_of_their_own(kind: str) -> None:
    names = [new(kind=kind).name for _ in range(12)]
    assert names == ["10-30-00", *(f"10-30-00-{number}" for number in range(2, 13))]


def test_of_many_that_begin_at_once_no_two_share_a_folder() -> None:
    found: list[str] = []
    ready = threading.Barrier(16)

    def begin() -> None:
        ready.wait()
        found.append(run_folder_for("never", "run", SECOND, [], RunMode.RUN))

    threads = [threading.Thread(target=begin) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 16


def test_the_newest_of_a_second_is_the_last_that_began() -> None:
    runs = [new(SECOND, "seed=1") for _ in range(11)]
    assert new("runs/single/2026-11-23/10-30-01", "seed=1", "resume=auto", resume="auto") == runs[-1]
    assert new("runs/single/2026-11-24/00-00-00", "seed=2", resume="auto").name == "00-00-00"


def test_a_later_second_is_newer_than_any_of_the_one_before() -> None:
    for _ in range(3):
        new(SECOND, "seed=1")
    later = new("runs/single/2026-11-23/10-30-01", "seed=1")
    assert new("runs/single/2026-11-23/10-30-02", "seed=1", resume="auto") == later


def test_a_folder_that_cannot_be_made_is_left_for_the_run_to_complain_of(tmp_path: Path) -> None:
    (tmp_path / "runs").touch()
    assert run_folder_for("never", "run", SECOND, [], RunMode.RUN) == SECOND


def test_all_jobs_of_a_grid_lie_in_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mdaf.sweeper.job.run.run", lambda cfg: 0.0)
    run(tmp_path, "-m", "seed=1,2", "~hydra.callbacks.table", tiny=())
    [folder] = (tmp_path / "runs/multirun").glob("*/*")
    assert sorted(path.name for path in folder.iterdir()) == ["0", "1", "multirun.yaml"]


def test_showing_the_config_makes_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "--cfg", "all", "--resolve", tiny=()) == 0
    assert "dir: runs/single/20" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
