"""``mdaf.attach()``: a job finds its trial without a key in its config; outside a sweep nothing happens."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

import mdaf
from mdaf.errors import UserError
from tests.processes import ROOT
from tests.sweeper.sphere import sphere, sweep

X = ("x=interval(-1.0,1.0)", "hydra.sweeper.n_trials=3")
PRUNER = "hydra.sweeper.pruner={_target_: optuna.pruners.ThresholdPruner, upper: 0.5}"


def test_outside_a_sweep_the_same_code_runs_and_reports_nothing() -> None:
    trial = mdaf.attach()
    trial.report(1, 0.5)
    trial.record({"gap": 0.3})
    assert not trial.asks_to_stop(2, 0.9)
    assert not trial
    assert (trial.number, trial.study_name) == (None, None)


@pytest.mark.parametrize("epoch", [0.25, -1, "1", True * 0.5])
def test_an_epoch_that_is_no_whole_number_is_one_line_and_so_is_optunas_order_of_arguments(epoch: float) -> None:
    with pytest.raises(UserError, match=rf"^trial\.report\(epoch, value\): found epoch {epoch}, expected a whole"):
        mdaf.attach().report(epoch, 3)  # type: ignore[arg-type]


def test_importing_the_package_imports_neither_optuna_nor_torch() -> None:
    asked = (
        "import sys, mdaf; mdaf.attach; print([name for name in ('optuna', 'torch', 'hydra') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", asked], cwd=ROOT, capture_output=True, text=True).stdout == "[]\n"


def test_a_pruner_stops_jobs_of_a_study_in_memory(tmp_path: Path) -> None:
    epochs: list[tuple[int, int]] = []

    def task(cfg: DictConfig) -> float:
        trial = mdaf.attach()
        assert trial.number is not None
        for epoch in (1, 2):
            epochs.append((trial.number, epoch))
            trial.report(epoch, [0.1, 0.9, 0.2][trial.number])
        return sphere(cfg)

    sweep(tmp_path, *X, PRUNER, task=task, stored=False)
    assert epochs == [(0, 1), (0, 2), (1, 1), (2, 1), (2, 2)]


def test_a_job_may_end_by_itself_where_the_pruner_asks_it_to(tmp_path: Path) -> None:
    def task(cfg: DictConfig) -> float:
        trial = mdaf.attach()
        if trial.asks_to_stop(1, [0.1, 0.9, 0.2][HydraConfig.get().job.num]):
            raise optuna.TrialPruned
        return sphere(cfg)

    swept = sweep(tmp_path, *X, PRUNER, task=task)
    assert [trial.state.name for trial in swept.study.trials] == ["COMPLETE", "PRUNED", "COMPLETE"]


def test_what_a_job_starts_belongs_to_its_trial(tmp_path: Path) -> None:
    def task(cfg: DictConfig) -> float:
        code = "import mdaf; trial = mdaf.attach(); trial.report(1, 0.25); trial.record({'pid': 'another'})"
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
        return sphere(cfg)

    [trial] = sweep(tmp_path, X[0], "hydra.sweeper.n_trials=1", PRUNER, task=task).study.trials
    assert trial.intermediate_values == {1: 0.25}
    assert trial.user_attrs["pid"] == "another"
    assert not mdaf.attach()


def test_nothing_of_the_trial_lies_in_the_jobs_config_or_in_its_saved_files(tmp_path: Path) -> None:
    seen: list[DictConfig] = []

    def task(cfg: DictConfig) -> float:
        seen.append(cfg)
        assert mdaf.attach().number == HydraConfig.get().job.num
        return sphere(cfg)

    swept = sweep(tmp_path, X[0], "hydra.sweeper.n_trials=1", task=task)
    assert set(seen[0]) == {"x", "y", "z", "error", "seed"}
    for file in (swept.folder / "0/.hydra").glob("*.yaml"):
        assert "MDAF_TRIAL" not in file.read_text()


@pytest.mark.parametrize("text", ["3", "no json", '{"trial": 3}'])
def test_a_variable_that_no_sweep_has_set_is_one_line(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("MDAF_TRIAL", text)
    with pytest.raises(UserError, match=r"^MDAF_TRIAL: found .*; unset it$"):
        mdaf.attach()


def test_a_process_that_cannot_reach_a_study_in_memory_says_so_and_works(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    address = '{"storage": null, "study": "elsewhere", "trial": 0, "pruner": null, "constraints": {}}'
    monkeypatch.setenv("MDAF_TRIAL", address)
    assert not mdaf.attach()
    assert "study elsewhere is in memory" in caplog.text
