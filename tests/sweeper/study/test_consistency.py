"""A study beside the files of its runs."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import optuna
import pytest
from omegaconf import OmegaConf
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial
from typer.testing import CliRunner

from mdaf.sweeper.runs.metric_columns import COLUMNS
from mdaf.sweeper.study.cli import app

NAME = "regularization.dropout"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def add_trial(here: Path, *, state: TrialState = TrialState.COMPLETE, **wrong: Any) -> None:
    """A trial and its run folder; of the trial what is ``wrong`` is said instead."""
    study = optuna.create_study(
        study_name="s", storage=f"sqlite:///{here}/s.db", direction="maximize", load_if_exists=True
    )
    number = len(study.trials)
    folder = here / "runs" / str(number)
    (folder / ".hydra").mkdir(parents=True)
    OmegaConf.save(OmegaConf.create({"regularization": {"dropout": 0.2}}), folder / ".hydra/config.yaml")
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for epoch, value in ((1, 0.6), (2, 0.7)):
            writer.writerow(dict.fromkeys(COLUMNS, 0.5) | {"epoch": epoch, "val_auc": value, "gate_mean": ""})
    best = {"state": "complete" if state is TrialState.COMPLETE else "pruned", "trial": number, "best_epoch": 2}
    (folder / "result.json").write_text(json.dumps(best | {"config_hash": "abc", "seed": 7}))
    said = {"value": 0.7, "intermediate_values": {1: 0.6, 2: 0.7}, "params": {NAME: 0.2}}
    attributes = {"run_dir": f"runs/{number}", "best_epoch": 2, "train_auc": 0.5, "gate_mean": None, "seed": 7}
    attributes |= {name: value for name, value in wrong.items() if name not in said}
    said |= {name: value for name, value in wrong.items() if name in said}
    space = {NAME: FloatDistribution(0, 1)}
    study.add_trial(create_trial(state=state, distributions=space, user_attrs=attributes, **said))  # type: ignore[arg-type]


def asked(here: Path, *words: str) -> Any:
    return CliRunner().invoke(app, [*words, "--storage", f"sqlite:///{here}/s.db"])


def test_a_study_that_says_what_its_runs_left_holds(here: Path) -> None:
    add_trial(here)
    add_trial(here, state=TrialState.PRUNED, value=0.6)
    found = asked(here, "verify")
    assert (found.exit_code, found.output) == (0, "study s: 1 complete trials, nothing differs\n")
    assert "warning" not in asked(here, "best").output


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ({"value": 1.05}, "the value (val_auc) 1.05, runs/0/metrics.csv 0.7"),
        ({"intermediate_values": {1: 0.9, 2: 0.7}}, "val_auc of epoch 1 0.9, runs/0/metrics.csv 0.6"),
        ({"intermediate_values": {1: 0.6, 2: 0.7, 3: 0.8}}, "val_auc of epoch 3 0.8, runs/0/metrics.csv None"),
        ({"best_epoch": 1}, "best_epoch 1, runs/0/result.json 2"),
        ({"train_auc": 0.4}, "train_auc 0.4, runs/0/metrics.csv 0.5"),
        ({"gate_mean": 0.4}, "gate_mean 0.4, runs/0/metrics.csv None"),
        ({"config_hash": "other"}, "config_hash other, runs/0/result.json abc"),
        ({"params": {NAME: 0.3}}, f"{NAME} 0.3, runs/0/.hydra/config.yaml 0.2"),
    ],
)
def test_what_a_study_says_otherwise_is_named(here: Path, wrong: dict[str, Any], line: str) -> None:
    add_trial(here, **wrong)
    found = asked(here, "verify")
    assert found.exit_code == 1
    assert f"trial 0: the study says {line}" in found.output
    assert f"warning: trial 0: the study says {line}" in asked(here, "best").output


@pytest.mark.parametrize("file", ["result.json", "metrics.csv", ".hydra/config.yaml"])
def test_a_damaged_run_is_named_and_the_others_are_compared(here: Path, file: str) -> None:
    add_trial(here)
    add_trial(here, value=1.05)
    (here / "runs/0" / file).write_text("{")
    found = asked(here, "verify")
    assert found.exit_code == 1
    assert [line for line in found.output.splitlines() if line.startswith(f"trial 0: runs/0/{file}")]
    assert "trial 1: the study says the value" in found.output


def test_a_run_of_another_trial_in_the_folder_and_one_that_is_not_here_are_told(here: Path) -> None:
    add_trial(here)
    add_trial(here, run_dir="runs/0")
    add_trial(here, run_dir="/elsewhere/2")
    found = asked(here, "verify")
    assert found.exit_code == 1
    assert "trial 1: the study says trial 1, runs/0/result.json 0" in found.output
    assert "1 trials have no run folder here to be compared with, such as trial 2" in found.output


@pytest.mark.parametrize("state", [TrialState.COMPLETE, TrialState.PRUNED])
def test_a_trial_that_was_not_run_is_compared_with_the_run_whose_value_it_has(here: Path, state: TrialState) -> None:
    add_trial(here)
    add_trial(here, state=state)
    add_trial(here, state=state, run_dir="runs/1", same_run_as=1, value=0.7)
    assert "nothing differs" in asked(here, "verify").output
    assert "warning" not in asked(here, "best", "--top", "3").output
    add_trial(here, state=state, run_dir="runs/1", same_run_as=0)
    assert "trial 3: the study says trial 0, runs/1/result.json 1" in asked(here, "verify").output


def test_a_value_that_differs_from_the_run_it_was_taken_from_is_named(here: Path) -> None:
    add_trial(here)
    add_trial(here, run_dir="runs/0", same_run_as=0, value=0.9)
    assert "trial 1: the study says the value (val_auc) 0.9, runs/0/metrics.csv 0.7" in asked(here, "verify").output
