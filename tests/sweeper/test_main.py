"""``python -m sweeper`` as a user types it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import optuna
import pytest
import torch

from mdaf.sweeper.runs.folder import COLUMNS
from mdaf.sweeper.storage.opening import open_storage
from tests.sweeper import inside
from tests.sweeper.tiny import TINY, typed

SHORT = (*TINY, "data.train_rows=500", "data.validation_rows=200")


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with a run of its own in ``run``, and a sweep of four trials."""
    folder = tmp_path_factory.mktemp("work")
    run = typed("sweeper", *SHORT, "criteria.min_val_auc=0.6", "hydra.run.dir=run", cwd=folder)
    assert run.returncode == 0, run.stderr
    return folder


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


def test_a_run_leaves_its_artifacts(here: Path) -> None:
    run = here / "run"
    left = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    config = {".hydra/config.yaml", ".hydra/hydra.yaml", ".hydra/overrides.yaml"}
    assert left == config | {"metrics.csv", "result.json", "best.pt", "last.pt", "summary.txt", "train.log"}
    table = rows(run / "metrics.csv")
    assert [row["epoch"] for row in table] == ["1", "2"]
    assert tuple(table[0]) == COLUMNS
    assert all(value for row in table for value in row.values())


def test_the_checkpoint_loads_without_pickled_code_and_holds_what_the_research_reads(here: Path) -> None:
    checkpoint = torch.load(here / "run/best.pt", weights_only=True)
    best = max(checkpoint["metrics_history"], key=lambda row: row["val_auc"])
    assert (checkpoint["epoch"], checkpoint["val_auc"]) == (best["epoch"], best["val_auc"])
    assert {"epoch", "val_auc", "train_val_gap"} <= set(checkpoint["metrics_history"][0])
    assert {"weights", "optimizer", "streams"} <= set(checkpoint)


def test_the_state_after_the_last_epoch_has_no_moments_since_nobody_goes_on_from_it(here: Path) -> None:
    last = torch.load(here / "run/last.pt", weights_only=True)
    assert (last["epoch"], last["optimizer"]["values"]) == (2, [])
    assert sum(part.numel() for part in last["weights"].values()) > 0


def test_the_result_says_what_was_run(here: Path) -> None:
    result = json.loads((here / "run/result.json").read_text())
    table = rows(here / "run/metrics.csv")
    best = max(table, key=lambda row: float(row["val_auc"]))
    assert result["objective"] == float(best["val_auc"])
    assert str(result["best_epoch"]) == best["epoch"]
    assert result["seed"] == 42
    for name in ("config_hash", "data_hash", "commit", "device", "versions"):
        assert name in result
    assert (result["study"], result["trial"]) == (None, None)


def test_the_log_can_be_followed_and_the_summary_is_in_plain_words(here: Path) -> None:
    log = (here / "run/train.log").read_text().splitlines()
    assert sum("Epoch time:" in line for line in log) == 2
    assert all(line.startswith("[20") for line in log)
    summary = (here / "run/summary.txt").read_text()
    for part in ("Configuration", "Trajectory (2 of 2 epochs)", "Criteria", "PENDING", "What follows"):
        assert part in summary
    promised = json.loads((here / "run/result.json").read_text())["splits"]
    assert promised.startswith("training ends before validation begins")
    assert promised in summary
    assert any(line.endswith(f"splits: {promised}") for line in log)


def test_several_seeds_end_with_a_table_of_them_and_their_spread(here: Path) -> None:
    run = typed("sweeper", "-m", *SHORT, "training.epochs=1", "seed=42,123", "hydra.sweep.dir=seeds", cwd=here)
    assert run.returncode == 0, run.stderr
    for word in ("42", "123", "mean", "std", "val_auc"):
        assert word in run.stdout
    results = [json.loads((here / f"seeds/{number}/result.json").read_text()) for number in (0, 1)]
    assert [result["seed"] for result in results] == [42, 123]
    mean = sum(result["best"]["val_auc"] for result in results) / 2
    assert f"{mean:.4f}" in run.stdout


def test_a_sweep_fills_the_study_and_each_trial_says_what_it_effectively_trained(here: Path) -> None:
    command = ["-m", "hydra/sweeper=regularization", *SHORT, "training.epochs=1", "hydra.sweeper.n_trials=4"]
    run = typed("sweeper", *command, cwd=here)
    assert run.returncode == 0, run.stderr
    storage = open_storage(f"sqlite:///{here}/runs/studies.db", create=False)
    [study] = [optuna.load_study(study_name=name, storage=storage) for name in optuna.get_all_study_names(storage)]
    assert study.study_name == "regularization-mdaf_mamba-synthetic_tiny"
    for trial in study.trials:
        attributes = trial.user_attrs
        assert attributes["effective"] == trial.params
        result = json.loads((here / attributes["run_dir"] / "result.json").read_text())
        assert Path(attributes["run_dir"]).name == str(trial.number)
        for name in ("config_hash", "data_hash", "commit", "seed", "best_epoch", "device"):
            assert attributes[name] == result[name]
        for name in ("train_auc", "train_val_gap", "gate_mean", "epoch_seconds"):
            assert attributes[name] == result["best"][name]
        assert trial.intermediate_values == {1: result["best"]["val_auc"]}
        assert trial.value == result["objective"]
    again = typed("sweeper", *command, cwd=here)
    assert again.returncode == 0
    assert len(study.get_trials()) == 4


@pytest.mark.parametrize(
    "many", [["seed=1,2"], ["hydra/sweeper=regularization", "hydra.sweeper.n_trials=2"]], ids=["a grid", "a sweep"]
)
def test_what_all_runs_have_in_common_is_shown_once_and_stands_in_the_log_of_each(
    tmp_path: Path, many: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert inside.run(tmp_path, "-m", *many, "training.steps_per_epoch=1", "hydra.sweep.dir=all") == 0
    said, common = capsys.readouterr().err, ("splits: training ends before", " parameters; 600 training rows")
    assert [said.count(line) for line in (*common, "Launching 1 jobs")] == [1, 1, 0]
    logs = sorted(tmp_path.glob("all/*/train.log"))
    assert [[log.read_text().count(line) for line in common] for log in logs] == [[1, 1]] * 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["typo=1"], "typo"),
        (["regularization.drop=0.1"], "drop"),
        (["regularization=medium"], "no such option, expected one of balanced, strong, weak"),
        (["regularization.dropout=1.2"], "regularization.dropout: found 1.2, expected a number in [0, 1)"),
        (["regularization.weight_decay=-1"], "regularization.weight_decay: found -1.0, expected >= 0"),
        (["regularization.label_smoothing=0.7"], "regularization.label_smoothing: found 0.7"),
        (["training.epochs=many"], "training.epochs"),
        (["data=user_behavior", "data.path=absent.csv"], "data.path=absent.csv does not exist"),
        (["device=cuda:99"], "device"),
        (["device.name=tpu"], "device.name: found tpu"),
        (["model._target_=os.system"], "model._target_: os.system is not on the list"),
        (
            ["model._target_=mdaf.data.preparing.prepare.prepare"],
            "model._target_: mdaf.data.preparing.prepare.prepare is not on the list",
        ),
        (["model._target_=mdaf.model.mdaf.dataclass"], "model"),
        (["-m", "hydra/sweeper=regularization", "sweep.storage=nowhere"], "nowhere"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_and_exit_code_2(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert inside.run(here, *arguments, tiny=TINY) == 2
    text = capsys.readouterr().err
    assert said in text
    complaint = [line for line in text.splitlines() if line.startswith("error: ")]
    assert len(complaint) == 1
    assert "Traceback" not in text


def test_a_mistake_that_is_typed_is_one_line_and_exit_code_2_too(here: Path) -> None:
    run = typed("sweeper", *TINY, "typo=1", cwd=here)
    assert (run.returncode, run.stdout) == (2, "")
    assert [line.startswith("error: ") for line in run.stderr.splitlines()].count(True) == 1
    assert "Traceback" not in run.stderr


def test_help_and_the_composed_config_read_well_and_start_nothing(here: Path, tmp_path: Path) -> None:
    help_text = typed("sweeper", "--help", cwd=tmp_path)
    assert help_text.returncode == 0, help_text.stderr
    for line in ("regularization: balanced, strong, weak", "mdaf -m hydra/sweeper=regularization"):
        assert line in help_text.stdout
    config = typed("sweeper", "--cfg", "job", cwd=tmp_path)
    assert "dropout: 0.25" in config.stdout
    assert list(tmp_path.iterdir()) == []
