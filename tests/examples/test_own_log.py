"""The example of a log in columns of its own names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import optuna
import pytest

from tests.examples.readme import blocks, copy_of, run


def results(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in (folder / "runs").rglob("result.json")]


def test_a_log_with_columns_of_its_own_is_trained_on_without_code(tmp_path: Path) -> None:
    folder = copy_of("own_log", tmp_path)
    for line in blocks("own_log")[0]:
        run(line, folder)
    (result,) = results(folder)
    assert result["model"] == "din"
    assert [store.name for store in folder.glob("runs/stores/event_log-*")] == [f"event_log-{result['data_hash'][:12]}"]


@pytest.mark.slow
def test_its_settings_under_a_name_open_the_same_store_and_are_searched(tmp_path: Path) -> None:
    folder = copy_of("own_log", tmp_path)
    for line in [line for block in blocks("own_log") for line in block]:
        shown = run(line, folder).stdout
    assert " --config-dir conf " in shown.splitlines()[-1]
    assert len(results(folder)) == 4
    assert len({result["data_hash"] for result in results(folder)}) == 1
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{folder}/runs/studies.db")
    assert len(study.trials) == 3
