"""A run as its folder records it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from mdaf.errors import UserError
from mdaf.sweeper.runs.folder import RunFolder
from mdaf.sweeper.runs.metric_columns import COLUMNS
from mdaf.sweeper.runs.reader import IDENTITY, read_finished_run, read_run

EPOCHS: list[dict[str, Any]] = [
    dict.fromkeys(COLUMNS, 0.5) | {"epoch": epoch, "val_auc": auc, "gate_mean": None}
    for epoch, auc in ((1, 0.57), (2, 0.58), (3, 0.58))
]
RESULT: dict[str, Any] = dict.fromkeys(IDENTITY, "x") | {
    "state": "complete",
    "seed": 42,
    "best_epoch": 2,
    "best": {"val_auc": 0.58},
    "epochs": 3,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A finished run's."""
    run = RunFolder(tmp_path / "run")
    run.write_metrics(EPOCHS)
    run.write_result(RESULT)
    return run.path


def test_a_run_is_read_with_its_epochs_and_its_best_is_the_first_of_equals(folder: Path) -> None:
    run = read_finished_run(folder)
    assert run.history == EPOCHS
    assert run.best["epoch"] == 2
    assert run.is_complete
    assert run.result == RESULT


def test_a_run_that_has_not_ended_is_read_without_a_result_and_is_not_complete(folder: Path) -> None:
    (folder / "result.json").unlink()
    run = read_run(folder, IDENTITY)
    assert (run.result, run.is_complete, len(run.history)) == ({}, False, 3)
    with pytest.raises(UserError, match=r"holds no result\.json, expected a finished run"):
        read_finished_run(folder)


def test_a_result_is_read_where_the_metrics_are_gone(folder: Path) -> None:
    (folder / "metrics.csv").unlink()
    run = read_run(folder)
    assert run.is_complete
    with pytest.raises(UserError, match=r"metrics\.csv: not there"):
        _ = run.history


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"epochs": 4}, "it holds 3 epochs, result.json says 4"),
        ({"seed": "42"}, 'seed is "42"'),
        ({"commit": None}, "commit is null"),
    ],
)
def test_a_finished_run_whose_files_disagree_or_are_damaged_is_refused(
    folder: Path, change: dict[str, Any], said: str
) -> None:
    (folder / "result.json").write_text(json.dumps(RESULT | change))
    with pytest.raises(UserError, match=re.escape(said)):
        read_finished_run(folder)


def test_an_epoch_without_a_validation_auc_belongs_to_no_finished_run(folder: Path) -> None:
    RunFolder(folder).write_metrics([EPOCHS[0], EPOCHS[1] | {"val_auc": None}, EPOCHS[2]])
    with pytest.raises(UserError, match="epoch 2 has no val_auc"):
        read_finished_run(folder)
