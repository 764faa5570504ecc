"""Which fields a model leaves out where the config leaves that open."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import optuna
import pytest
from omegaconf import OmegaConf

from mdaf.multirun.phase4.points import Point, checked, hashes
from mdaf.sweeper.hydra_ext.run_config import config_hash
from mdaf.sweeper.runs.reader import read_config
from mdaf.sweeper.trials.user_attrs import CONFIG
from tests.data.logs import DAY, START
from tests.sweeper.inside import run
from tests.sweeper.tiny import TINY, composed

LOG = (
    "data=event_log",
    "data.columns.label=clicked",
    "data.path=log.csv",
    *TINY[1:],
    "training.epochs=1",
    "training.batch_size=100",
)
SEARCH = ("-m", "hydra/sweeper=regularization", "hydra.sweeper.n_trials=1", "hydra.sweeper.study_name=s")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working directory with a log whose last fifth is by users whom nobody has seen before."""
    clicked = np.random.default_rng(0).random(500) < 0.4
    rows = [f"{n % 9 + (100 if n >= 400 else 0)},{n % 13},{START + n * DAY // 50},{clicked[n]:d}" for n in range(500)]
    (tmp_path / "log.csv").write_text("\n".join(["user,item,time,clicked", *rows]))
    return tmp_path


def test_a_run_does_without_the_users_id_where_validation_has_other_users(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(folder, *LOG, "hydra.run.dir=open", tiny=()) == 0
    assert run(folder, *LOG, "hydra.run.dir=typed", "model.without=[user]", tiny=()) == 0
    assert run(folder, *LOG, "hydra.run.dir=kept", "model.without=[]", tiny=()) == 0
    found = {name: json.loads((folder / name / "result.json").read_text()) for name in ("open", "typed", "kept")}
    assert found["open"]["config_hash"] == found["typed"]["config_hash"] != found["kept"]["config_hash"]
    assert found["open"]["best"]["val_auc"] == found["typed"]["best"]["val_auc"]
    for name, without in (("open", ["user"]), ("typed", ["user"]), ("kept", [])):
        config = read_config(folder / name)
        assert (config.model.without, config_hash(config)) == (without, found[name]["config_hash"])
    assert "model.without=[user]; model.without=[] keeps it" in (folder / "open/train.log").read_text()
    assert "without" not in (folder / "kept/train.log").read_text()
    monkeypatch.chdir(folder)
    recorded = (found["open"]["config_hash"], found["open"]["data_hash"])
    assert hashes(Point("open", LOG, folder), 42) == recorded, "Phase 4 finds the run"


def test_how_many_rows_were_read_is_shown_once_for_all_runs_and_stands_in_the_log_of_each(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    many = ("-m", "seed=1,2,3", "training.steps_per_epoch=1", "hydra.sweep.dir=all")
    assert run(folder, *LOG, *many, tiny=()) == 0
    assert capsys.readouterr().err.count("500 rows read; dropped: none") == 1
    logs = [log.read_text() for log in folder.glob("all/*/train.log")]
    assert [log.count("500 rows read; dropped: none") for log in logs] == [1, 1, 1]


def test_a_sweeps_trials_agree_on_the_fields_with_each_other_and_with_what_is_typed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder, *SEARCH, *LOG, tiny=()) == 0
    study = optuna.load_study(study_name="s", storage=f"sqlite:///{folder}/runs/studies.db")
    assert json.loads(study.user_attrs[CONFIG])["model.without"] == ["user"]
    assert read_config(folder / study.trials[0].user_attrs["run_dir"]).model.without == ["user"]
    assert run(folder, *SEARCH, *LOG, "model.without=[]", tiny=()) == 2
    assert 'model.without: this sweep has [], but the trials of study s have ["user"]' in capsys.readouterr().err
    assert run(folder, *SEARCH, *LOG, "model.without=[user]", tiny=()) == 0


def test_a_model_keeps_the_users_id_where_validation_has_the_same_users() -> None:
    config = checked(Point("open", TINY, Path()))
    assert config.model.without == []
    assert config_hash(config) == config_hash(composed("model.without=[]"))
    assert OmegaConf.select(composed(), "model.without") is None
