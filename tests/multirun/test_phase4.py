"""Phase 4 and the table of runs."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from multirun.phase4 import find_winner
from multirun.table import METRICS, collect, spread
from sweeper.errors import UserError
from tests.sweeper.runs import TINY, typed


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with a study of three trials."""
    folder = tmp_path_factory.mktemp("work")
    command = ["-m", "hydra/sweeper=regularization", *TINY, "training.epochs=1", "seed=7", "hydra.sweeper.n_trials=3"]
    sweep = typed("sweeper", *command, cwd=folder)
    assert sweep.returncode == 0, sweep.stderr
    return folder


def write_run(folder: Path, seed: int, val_auc: float, overrides: str = "[]") -> Path:
    """A finished run with these figures."""
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra/overrides.yaml").write_text(overrides)
    best = dict.fromkeys(METRICS, 0.5) | {"val_auc": val_auc, "gate_mean": None}
    (folder / "result.json").write_text(json.dumps({"seed": seed, "best_epoch": 1, "best": best}))
    return folder


def test_phase_4_repeats_the_winner_over_the_seeds_and_then_repeats_nothing(here: Path) -> None:
    first = typed("multirun", "seeds=[42,123]", cwd=here)
    assert first.returncode == 0, first.stderr
    winner = find_winner(f"sqlite:///{here}/runs/studies.db", None)
    home = here / "runs/phase4" / winner.study / f"trial-{winner.number}"
    runs = {seed: home / f"seed-{seed}" for seed in (42, 123)}
    for seed, run in runs.items():
        result = json.loads((run / "result.json").read_text())
        assert result["seed"] == seed
        assert f"{result['best']['val_auc']:.4f}" in first.stdout
    written = {path: path.stat().st_mtime_ns for path in home.rglob("*") if path.is_file()}
    second = typed("multirun", "seeds=[42,123]", cwd=here)
    assert second.stdout == first.stdout
    assert {path: path.stat().st_mtime_ns for path in home.rglob("*") if path.is_file()} == written


def test_a_run_of_another_configuration_is_not_taken_for_finished(here: Path) -> None:
    typed("multirun", "seeds=[42]", "folder=other", cwd=here)
    [file] = (here / "other").rglob("result.json")
    result = json.loads(file.read_text())
    file.write_text(json.dumps(result | {"config_hash": "0" * 12}))
    typed("multirun", "seeds=[42]", "folder=other", cwd=here)
    assert json.loads(file.read_text())["config_hash"] == result["config_hash"]


def test_the_winner_is_repeated_without_the_searchs_seed(here: Path) -> None:
    winner = find_winner(f"sqlite:///{here}/runs/studies.db", None)
    keys = [override.split("=")[0] for override in winner.overrides]
    assert "seed" not in keys
    assert {"regularization.dropout", "regularization.weight_decay", "data", "training.epochs"} <= set(keys)


def test_without_a_study_it_says_what_is_missing(here: Path, tmp_path: Path) -> None:
    run = typed("multirun", cwd=tmp_path)
    assert run.returncode == 2
    assert run.stderr.startswith("error: sqlite:///runs/studies.db")
    with pytest.raises(UserError, match="there is no study 'absent'"):
        find_winner(f"sqlite:///{here}/runs/studies.db", "absent")


def test_the_spread_is_over_the_seeds_of_one_configuration(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / "0", 42, 0.70, "[seed=42, regularization=weak]"),
        write_run(tmp_path / "1", 123, 0.80, "[seed=123, regularization=weak]"),
        write_run(tmp_path / "2", 42, 0.60, "[seed=42, regularization=strong]"),
    ]
    table = collect([*runs, tmp_path / "absent"])
    assert list(table["configuration"]) == ["regularization=weak", "regularization=weak", "regularization=strong"]
    statistics = spread(table)
    weak = statistics.loc["regularization=weak", "val_auc"]
    assert weak["mean"] == pytest.approx(0.75)
    assert weak["std"] == pytest.approx(0.0707107, abs=1e-6)  # sample standard deviation
    assert pd.isna(statistics.loc["regularization=strong", "val_auc"]["std"])
    assert pd.isna(weak_gate := statistics.loc["regularization=weak", "gate_mean"]["mean"]), weak_gate
