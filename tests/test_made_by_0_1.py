"""Version 0.1's studies, runs and stores, as they lie in ``made_by_0_1/``, are opened and gone on with."""

from __future__ import annotations

import json
import subprocess
import tarfile
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from mdaf.sweeper.hydra_ext.run_config import is_hash_of
from tests.sweeper.tiny import typed

MADE = Path(__file__).parent / "made_by_0_1/runs.tar.xz"
STUDY = "regularization-deepfm-synthetic_tiny"
SMALL = ("data=synthetic_tiny", "model=deepfm", "device=cpu", "training.batch_size=256", "model.embedding=4")
SMALL += ("model.deep=[8]", "training.epochs=2")
JOURNAL = "journal:///runs/studies.log"


@pytest.fixture
def made(tmp_path: Path) -> Path:
    with tarfile.open(MADE) as archive:
        if hasattr(tarfile, "data_filter"):  # from Python 3.11.4 on
            archive.extraction_filter = tarfile.data_filter
        archive.extractall(tmp_path)
    return tmp_path


def ran(folder: Path, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    run = typed(module, *arguments, cwd=folder)
    assert run.returncode == 0, run.stderr
    return run


def said(folder: Path, module: str, *arguments: str) -> str:
    run = ran(folder, module, *arguments)
    return run.stdout + run.stderr


@pytest.mark.parametrize("storage", ["sqlite:///runs/studies.db", JOURNAL])
def test_a_study_is_asked_and_says_what_its_runs_left(made: Path, storage: str) -> None:
    of_it = ("--storage", storage)
    assert json.loads(ran(made, "mdaf.sweeper.study", "best", *of_it, "--format", "json").stdout)[0]["number"] == 0
    assert "nothing differs" in said(made, "mdaf.sweeper.study", "verify", *of_it)


def test_a_sweep_goes_on_in_its_study_with_the_store_that_is_there(made: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in (made / "runs/stores").rglob("*.npy")}
    of_it = ("hydra.sweeper.study_name=journal", f"sweep.storage={JOURNAL}", "hydra.sweeper.n_trials=2")
    assert "trial 1: " in said(made, "mdaf.sweeper", "-m", "hydra/sweeper=regularization", *SMALL, *of_it)
    assert {file: file.stat().st_mtime_ns for file in (made / "runs/stores").rglob("*.npy")} == before


def test_an_interrupted_run_goes_on_where_it_stopped(made: Path) -> None:
    to = ("training.epochs=5", "hydra.run.dir=runs/interrupted", "resume=auto")
    shown = said(made, "mdaf.sweeper", *SMALL, *to)
    assert "going on in epoch 3" in shown
    assert "versions" in shown
    result = json.loads((made / "runs/interrupted/result.json").read_text())
    assert result["state"] == "complete"


def test_phase_4_trains_nothing_again(made: Path) -> None:
    small = (
        "design=research",
        "points=[winner]",
        "seeds=[42,43]",
        "confirm.top=1",
        "confirm.seeds=[1001]",
        "test=false",
        "resamples=20",
    )
    shown = said(made, "mdaf.multirun", f"study={STUDY}", *small, "ask=false")
    assert "2 runs of 2 epochs, 2 are there already" in shown
    assert "Epoch time:" not in shown


def test_a_report_is_verified_but_for_what_had_other_rules(made: Path) -> None:
    [file] = (made / "runs/phase4").glob("*/report/report.json")
    assert json.loads(file.read_text())["format"] == 1
    shown = said(made, "mdaf.multirun", "verify", str(file))
    assert "figures of 6 runs hold" in shown
    assert "version 0.1 wrote it; criteria, evidence, bootstrap_interval, seeds_needed" in shown


def test_the_hashes_of_runs_are_those_of_their_configs(made: Path) -> None:
    folders = [file.parent for file in (made / "runs").rglob("result.json")]
    assert folders
    for folder in folders:
        config = OmegaConf.load(folder / ".hydra/config.yaml")
        assert OmegaConf.is_dict(config)
        assert config.model._target_ == "model.deepfm.DeepFM"
        assert is_hash_of(config, json.loads((folder / "result.json").read_text())["config_hash"])
