"""``mdaf.attach()``: a job finds its trial without a key in its config; outside a sweep nothing happens."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import optuna
import pytest
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from omegaconf import DictConfig

import mdaf
from mdaf.errors import UserError
from mdaf.hydra_internals import BasicLauncher
from mdaf.sweeper.storage.opening import open_storage
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


@pytest.mark.parametrize("code", [0, 3, "no such file"])
def test_a_job_that_calls_sys_exit_fails_its_trial_and_the_sweep_goes_on(tmp_path: Path, code: int | str) -> None:
    def task(cfg: DictConfig) -> float:
        if HydraConfig.get().job.num == 0:
            sys.exit(code)
        return sphere(cfg)

    first, second = sweep(tmp_path, *X, "hydra.sweeper.max_failure_rate=1", task=task).study.trials[:2]
    assert (first.state.name, second.state.name) == ("FAIL", "COMPLETE")
    assert f"the job called sys.exit({code!r})" in first.user_attrs["error"]
    assert "in task" in first.user_attrs["traceback"]
    assert "died" not in first.user_attrs  # nobody interrupted it, so its point is not tried again for ever


def test_a_job_that_ends_since_it_was_asked_to_leave_ends_the_sweep(tmp_path: Path) -> None:
    def task(cfg: DictConfig) -> float:
        sys.exit(128 + signal.SIGTERM)  # as the handler of a program does

    with pytest.raises(SystemExit):
        sweep(tmp_path, *X, task=task)


OF_ANOTHER_FORM = '{"storage": 5, "study": [1], "trial": true, "pruner": "x", "constraints": 3}'


@pytest.mark.parametrize("text", ["3", "no json", '{"trial": 3}', OF_ANOTHER_FORM])
def test_a_variable_that_no_sweep_has_set_is_one_line(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("MDAF_TRIAL", text)
    with pytest.raises(UserError, match=r"^MDAF_TRIAL: found .*; unset it$"):
        mdaf.attach()


@pytest.mark.parametrize(("study", "trial"), [("gone", 0), ("test", 99), ("test", -1)])
def test_a_variable_of_a_trial_that_is_gone_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, study: str, trial: int
) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    optuna.create_study(storage=open_storage(url, create=True), study_name="test")
    address = {"storage": url, "study": study, "trial": trial, "pruner": None, "constraints": {}}
    monkeypatch.setenv("MDAF_TRIAL", json.dumps(address))
    with pytest.raises(UserError, match=rf"^MDAF_TRIAL: found trial {trial} of study {study}, .* not hold; unset it$"):
        mdaf.attach()


def test_a_process_that_cannot_reach_a_study_in_memory_says_so_and_works(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    address = '{"storage": null, "study": "elsewhere", "trial": 0, "pruner": null, "constraints": {}}'
    monkeypatch.setenv("MDAF_TRIAL", address)
    assert not mdaf.attach()
    assert "study elsewhere is in memory" in caplog.text


# ---- jobs in processes of their own


class ForkedLauncher(BasicLauncher):
    """Runs each launch in a forked process, as launchers for other machines do it with new ones."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        receiving, sending = FORK.Pipe(duplex=False)
        process = FORK.Process(
            target=lambda: sending.send(super(ForkedLauncher, self).launch(job_overrides, initial_job_idx))
        )
        process.start()
        returned: Sequence[JobReturn] = receiving.recv()
        process.join()
        return returned


FORK = multiprocessing.get_context("fork")


@pytest.fixture
def forked() -> Iterator[str]:
    """The override that chooses the launcher, which there is for this test alone."""
    Plugins.instance().register(ForkedLauncher)
    target = f"{ForkedLauncher.__module__}.{ForkedLauncher.__qualname__}"
    ConfigStore.instance().store(
        group="hydra/launcher", name="forked", node={"_target_": target}, provider="test", replace=True
    )
    yield "hydra/launcher=forked"
    del ConfigStore.instance().repo["hydra"]["launcher"]["forked.yaml"]


def test_a_job_in_a_process_of_its_own_signs_its_trial_and_leaves_how_it_ended(tmp_path: Path, forked: str) -> None:
    def task(cfg: DictConfig) -> float:
        trial = mdaf.attach()
        trial.report(1, [0.1, 0.9, 0.2][HydraConfig.get().job.num])
        if trial.number == 2:
            raise RuntimeError("the disk is gone: postgresql://me:hunter2@host/db")
        return 0.25

    typed = (*X, PRUNER, forked, "hydra.sweeper.max_failure_rate=1")
    complete, pruned, failed = sweep(tmp_path, *typed, task=task).study.trials[:3]
    for trial in (complete, pruned, failed):
        assert trial.user_attrs["job"] != trial.user_attrs["worker"]
    assert complete.user_attrs["outcome"] == {"state": "COMPLETE", "values": [0.25]}
    assert pruned.user_attrs["outcome"] == {"state": "PRUNED", "values": None}
    assert (complete.state.name, pruned.state.name, failed.state.name) == ("COMPLETE", "PRUNED", "FAIL")
    assert failed.user_attrs["error"] == "RuntimeError: the disk is gone: postgresql://me:***@host/db"
    assert "hunter2" not in failed.user_attrs["traceback"]


def test_a_job_that_cannot_reach_the_study_runs_all_the_same(tmp_path: Path, forked: str) -> None:
    def task(cfg: DictConfig) -> float:
        return 0.25 if "MDAF_TRIAL" in os.environ else 0.0

    def unreachable(*_: object) -> None:
        raise ConnectionError("no route to the database")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mdaf.sweeper.trials.attaching.attached.TrialLink.__init__", unreachable)
        trials = sweep(tmp_path, *X, forked, task=task).study.trials
    assert [trial.values for trial in trials] == [[0.25]] * 3
