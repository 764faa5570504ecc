"""Jobs that are launched one by one elsewhere: none waits for another, and a lost one is tried again."""

from __future__ import annotations

import importlib.util
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import InstantiationException
from hydra.types import HydraContext
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from optuna.trial import Trial, TrialState

from mdaf import conf, errors
from mdaf.errors import UserError
from mdaf.extras import install
from mdaf.messages.reporting import one_line
from mdaf.processes.identity import this_process
from mdaf.sweeper.hydra_ext import run_dirs
from mdaf.sweeper.runs.folder import FolderError
from mdaf.sweeper.search import trial_loop
from mdaf.sweeper.search.running import cluster
from mdaf.sweeper.search.running.cluster import is_lost, whole_gpus
from mdaf.sweeper.search.running.job_slots import JobSlots
from mdaf.sweeper.search.sweep import Search
from mdaf.sweeper.storage.opening import open_storage
from mdaf.sweeper.trials.attaching.link import TrialLink
from mdaf.sweeper.trials.trials import Trials
from mdaf.sweeper.trials.user_attrs import DIED, INTERRUPTED, JOB, LEASE_EXPIRES, OUTCOME, RETRY_OF, WORKER
from tests.sweeper.sphere import sphere, sweep

PRESETS = {"joblib": "joblib", "submitit_local": "submitit", "submitit_slurm": "submitit", "ray": "ray"}


class LostError(RuntimeError):
    """What a launcher raises when the process of a job is gone."""


class Elsewhere:
    """A launcher whose jobs take a while each, and of which some are lost."""

    def __init__(self, seconds: dict[int, float] | None = None, lost: Sequence[int] = ()) -> None:
        self.hydra_context = HydraContext(None, None)  # type: ignore[arg-type]
        self.seconds, self.lost = seconds or {}, lost
        self.ended: list[int] = []
        self.now, self.most = 0, 0
        self._lock = threading.Lock()

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        [_] = job_overrides
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(self.seconds.get(initial_job_idx, 0.01))
        with self._lock:
            self.now -= 1
            self.ended.append(initial_job_idx)
        if initial_job_idx in self.lost:
            raise LostError("the node is gone")
        result = JobReturn()
        result.status, result.return_value = JobStatus.COMPLETED, float(initial_job_idx)
        return [result]


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial_loop, "runs_elsewhere", lambda launcher: isinstance(launcher, Elsewhere))
    monkeypatch.setattr(trial_loop, "is_lost", lambda error: isinstance(error, LostError))


def swept_with(launcher: Elsewhere, folder: Path, monkeypatch: pytest.MonkeyPatch, *overrides: str) -> optuna.Study:
    monkeypatch.setattr(Search, "setup", with_launcher(Search.setup, launcher))
    return sweep(folder, "x=interval(0,1)", *overrides).study


def with_launcher(setup: Any, launcher: Elsewhere) -> Any:
    def changed(self: Any, **named: Any) -> None:
        setup(self, **named)
        self.launcher, self.settings = launcher, replace(self.settings, n_jobs=3)

    return changed


def test_a_job_that_takes_long_keeps_nobody_waiting(
    elsewhere: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher = Elsewhere(seconds={0: 2.0})
    study = swept_with(launcher, tmp_path, monkeypatch, "hydra.sweeper.n_trials=8")
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 8
    assert launcher.ended[-1] == 0
    assert 2 <= launcher.most <= 3
    assert [trial.value for trial in study.trials] == [float(number) for number in range(8)]


def test_a_lost_job_takes_none_along_and_its_point_is_tried_again(
    elsewhere: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = swept_with(Elsewhere(lost=[1]), tmp_path, monkeypatch, "hydra.sweeper.n_trials=5")
    assert Counter(trial.state for trial in study.trials) == {TrialState.COMPLETE: 5, TrialState.FAIL: 1}
    assert study.trials[1].user_attrs[DIED] == "its job was lost: the node is gone"
    [retry] = [trial for trial in study.trials if trial.user_attrs.get(RETRY_OF) == 1]
    assert retry.params == study.trials[1].params


def test_a_cluster_that_loses_every_job_ends_the_sweep_in_one_line(
    elsewhere: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="16 jobs in a row were lost, the last one: the node is gone"):
        swept_with(Elsewhere(lost=range(100)), tmp_path, monkeypatch, "hydra.sweeper.n_trials=9")
    study = optuna.load_study(study_name="s", storage=open_storage(f"sqlite:///{tmp_path}/s.db", create=False))
    assert all(trial.state is not TrialState.RUNNING for trial in study.trials)


class Together(Elsewhere):
    """A launcher that runs all its jobs at once in processes of its own, and says of which one the process is gone."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        return [self._ended(initial_job_idx + place) for place in range(len(job_overrides))]

    def _ended(self, number: int) -> JobReturn:
        if number in self.lost:
            return JobReturn(status=JobStatus.FAILED, _return_value=errors.LostError("its process is gone"))
        return JobReturn(status=JobStatus.COMPLETED, _return_value=float(number))


def test_of_jobs_that_are_launched_together_a_lost_one_is_tried_again_and_the_others_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher = Together(lost=[1])
    study = swept_with(launcher, tmp_path, monkeypatch, "hydra.sweeper.n_trials=4", "hydra.sweeper.max_failure_rate=0")
    assert Counter(trial.state for trial in study.trials) == {TrialState.COMPLETE: 4, TrialState.FAIL: 1}
    assert [study.trials[number].value for number in (0, 2)] == [0.0, 2.0]
    assert study.trials[1].user_attrs[DIED] == "its job was lost: its process is gone"
    [retry] = [trial for trial in study.trials if trial.user_attrs.get(RETRY_OF) == 1]
    assert retry.params == study.trials[1].params


def test_a_launcher_that_loses_every_job_ends_the_sweep_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="16 jobs in a row were lost, the last one: its process is gone"):
        swept_with(Together(lost=range(100)), tmp_path, monkeypatch, "hydra.sweeper.n_trials=20")
    study = optuna.load_study(study_name="s", storage=open_storage(f"sqlite:///{tmp_path}/s.db", create=False))
    assert all(trial.state is not TrialState.RUNNING for trial in study.trials)


def test_a_job_that_is_asked_to_leave_its_node_is_tried_again_and_has_not_died(
    elsewhere: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Preempting(Elsewhere):
        def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
            if initial_job_idx in (1, 2):
                raise [KeyboardInterrupt, FolderError("the disk is full")][initial_job_idx - 1]
            return super().launch(job_overrides, initial_job_idx)

    study = swept_with(Preempting(), tmp_path, monkeypatch, "hydra.sweeper.n_trials=5", "hydra.sweeper.max_deaths=1")
    assert Counter(trial.state for trial in study.trials) == {TrialState.COMPLETE: 5, TrialState.FAIL: 2}
    retries = {trial.user_attrs[RETRY_OF]: trial for trial in study.trials if RETRY_OF in trial.user_attrs}
    for number in (1, 2):
        assert retries[number].params == study.trials[number].params
        assert retries[number].user_attrs["interruptions"] >= 1
        assert "deaths" not in retries[number].user_attrs


@pytest.mark.parametrize("error", [KeyboardInterrupt("by SIGTERM"), FolderError("the disk is full")])
def test_a_job_says_on_its_trial_that_it_was_interrupted_and_no_more_once_it_is_back(
    tmp_path: Path, error: BaseException
) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    trial = running_trial(url)
    with pytest.raises(type(error)), TrialLink(url, "s", 0):
        raise error
    assert trial.storage.get_trial(trial._trial_id).user_attrs[INTERRUPTED] == str(error)
    with TrialLink(url, "s", 0):
        pass
    assert trial.storage.get_trial(trial._trial_id).user_attrs[INTERRUPTED] is None


def test_a_single_slot_is_waited_for_in_the_thread_that_asks() -> None:
    study = optuna.create_study()
    slots, where = JobSlots(Elsewhere(), 1), []
    slots._launcher.launch = lambda jobs, initial_job_idx: where.append(threading.current_thread()) or [JobReturn()]
    slots.start(study.ask(), [])
    assert where == [threading.current_thread()]
    assert len(slots.wait(0)) == 1
    assert slots.free == 1


# ---- a job that ends while nobody is there


def running_trial(url: str) -> Trial:
    """A trial that a process of this machine asked for, which is gone; its job is this process."""
    study = optuna.create_study(study_name="s", storage=open_storage(url, create=True), direction="maximize")
    trial = study.ask()
    trial.suggest_float("x", 0, 1)
    host, pid, start = this_process().split(":")
    gone = f"{host}:{pid}:{int(start) - 1}"
    trial.set_user_attr(WORKER, gone)
    trial.set_user_attr(LEASE_EXPIRES, 0.0)
    return trial


@pytest.mark.parametrize(("pruned", "state", "value"), [(False, "COMPLETE", 0.75), (True, "PRUNED", 0.5)])
def test_what_a_job_came_to_is_told_by_who_finds_it_when_its_sweep_was_gone(
    tmp_path: Path, pruned: bool, state: str, value: float
) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    trial = running_trial(url)
    with pytest.raises(optuna.TrialPruned) if pruned else nullcontext(), TrialLink(url, "s", 0) as link:
        link.report(1, 0.5)
        if pruned:
            raise optuna.TrialPruned
        link.conclude([0.75])
    study = optuna.load_study(study_name="s", storage=open_storage(url, create=False))
    assert study.trials[0].user_attrs[JOB] == this_process()
    trial.set_user_attr(JOB, trial.user_attrs[WORKER])  # now the job's process is gone, too
    assert Trials(study).reap() == []
    [told] = study.trials
    assert (told.state.name, told.value) == (state, value)
    assert told.user_attrs[OUTCOME]["state"] == state


# ---- the presets


@pytest.fixture
def schemas() -> None:
    conf.register()
    cluster.register()
    run_dirs.register()


@pytest.mark.parametrize("sweeper", ["basic", "regularization"])
@pytest.mark.parametrize("launcher", PRESETS)
def test_a_preset_is_what_its_plugin_takes(schemas: None, launcher: str, sweeper: str) -> None:
    if importlib.util.find_spec(f"hydra_plugins.hydra_{PRESETS[launcher]}_launcher") is None:
        pytest.skip(f"hydra-{PRESETS[launcher]}-launcher is not installed: {install('cluster')}")
    typed = [f"hydra/launcher={launcher}", f"hydra/sweeper={sweeper}", "device.gpus_per_trial=1"]
    with initialize_config_module("mdaf.conf"):
        cfg = compose("config", overrides=typed, return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    plugin = Plugins.instance().instantiate_launcher(HydraContext(None, None), sphere, cfg)  # type: ignore[arg-type]
    assert cluster.runs_elsewhere(plugin)
    asked = OmegaConf.to_container(cfg.hydra.launcher, resolve=False)
    assert isinstance(asked, dict)
    gpus = {"ray": lambda: cfg.hydra.launcher.ray.remote.num_gpus, "joblib": lambda: 1}
    assert gpus.get(launcher, lambda: cfg.hydra.launcher.gpus_per_node)() == 1


def test_a_part_of_a_gpu_is_rays_to_give_and_not_submitits(schemas: None) -> None:
    with initialize_config_module("mdaf.conf"):
        typed = ["device.gpus_per_trial=0.25", "hydra/launcher=ray"]
        assert compose("config", typed, return_hydra_config=True).hydra.launcher.ray.remote.num_gpus == 0.25
        submitit = compose("config", [*typed[:1], "hydra/launcher=submitit_slurm"], return_hydra_config=True)
    with pytest.raises((UserError, OmegaConfBaseException, InstantiationException)) as error:
        _ = submitit.hydra.launcher.gpus_per_node
    assert "device.gpus_per_trial: found 0.25, but submitit gives out whole GPUs" in one_line(error.value)
    assert [whole_gpus(0.0), whole_gpus(1.0)] == [0, 1]


@pytest.mark.parametrize(("name", "extra"), [("ray", "ray"), ("submitit", "slurm"), ("joblib", "joblib")])
def test_a_plugin_that_is_not_installed_is_one_line_with_how_to_install_it(name: str, extra: str) -> None:
    said = RuntimeError(f"Unknown plugin class : 'hydra_plugins.hydra_{name}_launcher.{name}_launcher.Launcher'")
    expected = f"hydra/launcher: hydra-{name}-launcher is not installed; {install(extra)}"
    assert one_line(said) == expected
    assert f"pip install hydra-{name}-launcher==" in expected


@pytest.mark.parametrize(
    ("module", "name", "lost"),
    [
        ("ray.exceptions", "WorkerCrashedError", True),
        ("ray.exceptions", "NodeDiedError", True),
        ("ray.exceptions", "RayTaskError", False),
        ("submitit.core.utils", "UncompletedJobError", True),
        ("submitit.core.utils", "FailedJobError", False),
        ("joblib.externals.loky.process_executor", "TerminatedWorkerError", True),
        ("builtins", "ValueError", False),
    ],
)
def test_the_loss_of_a_process_is_told_from_what_a_job_did_wrong(module: str, name: str, lost: bool) -> None:
    kinds = pytest.importorskip(module, reason="the plugin is not installed")
    kind = getattr(kinds, name)
    assert is_lost(kind.__new__(kind)) is lost


def test_a_ray_worker_enters_the_folder_of_the_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(cluster.FOLDER_VARIABLE, str(tmp_path / "of/the/sweep"))
    cluster.enter_ray_worker()
    assert Path.cwd() == tmp_path / "of/the/sweep"
