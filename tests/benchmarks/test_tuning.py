"""The benchmark of whole sweeps, and that of a large study: each comes to its end and prints its figures."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.tuning.__main__ import table
from benchmarks.tuning.sweeps import Swept, command
from tests.sweeper.tiny import ROOT


def test_every_sweep_has_the_same_trials_epochs_and_space(tmp_path: Path) -> None:
    folder = tmp_path / "0"
    folder.mkdir()
    upstream = command("hydra-optuna-sweeper", folder, 20, 4, None)
    ours = command("this sweeper", folder, 20, 4, None)
    command("Ray Tune, ASHA", folder, 20, 4, "python")
    task = (folder / "task.json").read_text()
    assert {"training.epochs=4", "hydra.sweeper.n_trials=20"} <= set(upstream) & set(ours)
    assert '"trials": 20, "epochs": 4' in task
    settings = (ROOT / "conf/hydra/sweeper/regularization.yaml").read_text()
    for name, words in (("dropout", "0.15, 0.35"), ("weight_decay", "1e-5, 1e-4"), ("label_smoothing", "0.0, 0.10")):
        assert f"regularization.{name}: " in settings
        assert f"interval({words})" in settings
        assert any(word.startswith(f"regularization.{name}=") for word in upstream)
        assert f'"regularization.{name}"' in task
    assert "regularization.weight_decay=tag(log,interval(1e-05,0.0001))" in upstream


def test_the_table_has_medians() -> None:
    found = {"a": [Swept(3.0, 2.0, 80, 20, 0.7), Swept(1.0, 4.0, 60, 20, 0.5), Swept(2.0, 3.0, 70, 20, 0.6)]}
    assert table(found).splitlines()[-1] == "| a | 2.0 | 1.0 to 3.0 | 3.0 | 70 | 20 | 0.6000 |"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["benchmarks.tuning", "--variants", "hydra-optuna-sweeper", "this sweeper"], ["| 2 | 2 | 0.", "this sweeper"]),
        (["benchmarks.study_at_size"], ["`list`", "page of plot", "in memory", "a trial more of the sweep"]),
    ],
)
def test_a_smoke_run_comes_to_its_end(words: list[str], said: list[str], tmp_path: Path) -> None:
    typed = [sys.executable, "-m", *words, "--smoke"]
    ended = subprocess.run(
        typed, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True
    )
    assert all(text in ended.stdout for text in said)
