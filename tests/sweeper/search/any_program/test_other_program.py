"""The sweeper in a program of somebody else, as it is typed: its jobs know their trial, whatever launches them."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import optuna
import pytest
from omegaconf import OmegaConf
from optuna.trial import FrozenTrial, TrialState

from mdaf.sweeper.storage.opening import open_storage
from tests.processes import ROOT
from tests.sweeper.tiny import typed

MEDIAN = "hydra.sweeper.pruner={_target_: optuna.pruners.MedianPruner, n_startup_trials: 2, n_warmup_steps: 1}"

TOLERANT = ("hydra.sweeper.max_failure_rate=1", "hydra.sweeper.replace_failed=true")


def sweep(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return typed("tests.sweeper.program", "-m", *arguments, cwd=folder)


def trials_in(folder: Path) -> list[FrozenTrial]:
    storage = open_storage(f"sqlite:///{folder}/studies.db", create=False)
    return optuna.load_study(study_name="test", storage=storage).get_trials()


def test_pruned_failed_and_retried_trials_are_told_by_the_jobs_themselves(tmp_path: Path) -> None:
    run = sweep(tmp_path, "hydra.sweeper.n_trials=8", *TOLERANT, MEDIAN, "broken=above")
    assert run.returncode == 0, run.stderr
    assert "hunter2" not in run.stderr
    trials = trials_in(tmp_path)
    states = [trial.state for trial in trials]
    assert states.count(TrialState.COMPLETE) + states.count(TrialState.PRUNED) == 8
    assert states.count(TrialState.PRUNED) > 0
    assert states.count(TrialState.FAIL) > 0
    for trial in trials:
        if trial.state is TrialState.FAIL:
            assert trial.params["x"] > 0.5
            assert "fail_if_told" in trial.user_attrs["traceback"]
            assert trial.user_attrs["error"] == "RuntimeError: the disk is gone: postgresql://me:***@host/db"
        if trial.state is TrialState.PRUNED:
            assert 1 <= len(trial.intermediate_values) < 3
    results = OmegaConf.load(tmp_path / "runs/studies/test/optimization_results.yaml")
    best = max((trial for trial in trials if trial.state is TrialState.COMPLETE), key=lambda trial: trial.values[0])
    assert results.best_trial == best.number


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_failures_in_a_row_end_every_worker_with_one_line(tmp_path: Path, workers: int) -> None:
    tolerant = ("hydra.sweeper.max_failure_rate=1", "hydra.sweeper.max_failures=3")
    run = sweep(tmp_path, *tolerant, f"hydra.sweeper.workers={workers}", "broken=always", "hydra.sweeper.n_trials=40")
    assert run.returncode != 0
    assert "trials in a row failed" in run.stderr
    trials = trials_in(tmp_path)
    assert {trial.state for trial in trials} == {TrialState.FAIL}
    assert 3 <= len(trials) <= 3 + workers


def test_out_of_memory_is_survived_with_a_smaller_micro_batch(tmp_path: Path) -> None:
    run = sweep(
        tmp_path, "broken=memory", "hydra.sweeper.n_trials=2", "hydra.sweeper.enqueue={known: {x: 0.1, y: 0.2}}"
    )
    assert run.returncode == 0, run.stderr
    trials = trials_in(tmp_path)
    assert [trial.state.name for trial in trials] == ["FAIL", "COMPLETE", "FAIL", "COMPLETE"]
    assert trials[1].params == trials[0].params == {"x": 0.1, "y": 0.2}
    overrides = (tmp_path / "runs/studies/test/1/.hydra/overrides.yaml").read_text()
    assert "device.micro_batch=32" in overrides
    assert trials[1].user_attrs["point"] == "known"


@pytest.mark.slow
@pytest.mark.skipif(find_spec("hydra_plugins.hydra_joblib_launcher") is None, reason="hydra-joblib-launcher is absent")
def test_pruning_reaches_jobs_that_a_launcher_runs_in_processes_of_its_own(tmp_path: Path) -> None:
    launcher = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.sweeper.n_jobs=2")
    words = ("-m", "tests.sweeper.program", "-m", *launcher, MEDIAN, "hydra.sweeper.n_trials=8", "seconds=0.3")
    command = [sys.executable, *words]  # joblib ends its processes when Python exits, as a forked process does not
    run = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    trials = trials_in(tmp_path)
    assert {trial.state for trial in trials} == {TrialState.COMPLETE, TrialState.PRUNED}
    for trial in trials:
        assert trial.user_attrs["job"] != trial.user_attrs["worker"]
        if trial.state is TrialState.PRUNED:
            assert 1 <= len(trial.intermediate_values) < 3
