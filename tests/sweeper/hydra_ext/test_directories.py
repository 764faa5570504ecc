"""Relative paths mean what they mean where a command was typed, although Hydra may change to a job's folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from mdaf.sweeper.hydra_ext.directories import from_anywhere
from mdaf.sweeper.storage.opening import open_storage
from mdaf.sweeper.study.queries import load_studies, trials_of
from tests.sweeper.inside import run
from tests.sweeper.tiny import typed


def states(url: str) -> list[str]:
    [study] = load_studies(open_storage(url, create=False))
    return [trial.state.name for trial in trials_of(study)]


def test_a_url_of_a_file_means_the_same_file_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert from_anywhere("sqlite:///runs/s.db") == f"sqlite:///{tmp_path}/runs/s.db"
    assert from_anywhere("journal:///s.log") == f"journal:///{tmp_path}/s.log"
    for url in ("sqlite:////srv/s.db", "sqlite://", "sqlite:///:memory:", "postgresql+psycopg://me@host/db"):
        assert from_anywhere(url) == url


@pytest.mark.slow
def test_a_sweep_whose_jobs_change_to_their_folders_keeps_study_and_store_where_it_was_typed(tmp_path: Path) -> None:
    sweep = ("-m", "hydra/sweeper=regularization", "hydra.sweeper.n_trials=1", "sweep.storage=sqlite:///s.db")
    assert run(tmp_path, *sweep, "hydra.job.chdir=true", "training.epochs=1") == 0
    assert states(f"sqlite:///{tmp_path}/s.db") == ["COMPLETE"]
    assert not list(tmp_path.glob("runs/studies/*/0/runs"))


@pytest.mark.slow
def test_another_programs_jobs_find_their_study_although_they_change_to_their_folders(tmp_path: Path) -> None:
    end = typed("tests.sweeper.program", "-m", "hydra.job.chdir=true", "hydra.sweeper.n_trials=2", cwd=tmp_path)
    assert end.returncode == 0, end.stderr
    assert states(f"sqlite:///{tmp_path}/studies.db") == ["COMPLETE"] * 2
