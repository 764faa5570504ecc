"""``hydra/launcher=replicas``: what its jobs leave is what they would have left alone."""

from __future__ import annotations

import csv
import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.types import HydraContext
from omegaconf import OmegaConf

from mdaf.errors import UserError
from mdaf.multirun.launching import lockstep
from mdaf.multirun.launching.launcher import AutoLauncher, ReplicaLauncher
from mdaf.sweeper.__main__ import job
from mdaf.sweeper.training.memory import Capacity, Footprint
from mdaf.sweeper.training.replicas import REPLICA_KEYS, Hyperparameters
from tests.processes import Running
from tests.sweeper.sphere import sphere, sweep
from tests.sweeper.tiny import TINY, typed

POINTS = (
    "regularization.dropout=0.1,0.4",
    "regularization.weight_decay=0,1e-3",
    "regularization.label_smoothing=0,0.1",
)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


def launched(here: Path, name: str, *overrides: str, launcher: str) -> list[Path]:
    """The run folders of a launch, in the order of their numbers."""
    end = typed("sweeper", "-m", *TINY, *overrides, f"hydra/launcher={launcher}", f"hydra.sweep.dir={name}", cwd=here)
    assert end.returncode == 0, end.stderr
    return sorted((path for path in (here / name).iterdir() if path.is_dir()), key=lambda path: int(path.name))


def metrics(run: Path) -> list[dict[str, float]]:
    rows = csv.DictReader((run / "metrics.csv").open())
    return [{name: float(value) for name, value in row.items() if value and "ms" not in name} for row in rows]


def assert_same(runs: Sequence[Path], alone: Sequence[Path]) -> None:
    assert [run.name for run in runs] == [run.name for run in alone]
    for run, other in zip(runs, alone, strict=True):
        assert {path.name for path in run.iterdir()} == {path.name for path in other.iterdir()}
        assert result(run)["config_hash"] == result(other)["config_hash"]
        for row, expected in zip(metrics(run), metrics(other), strict=True):
            for name in ("train_auc", "val_auc", "val_gauc"):
                assert row[name] == pytest.approx(expected[name], abs=1e-4)
            for name in ("train_loss", "val_loss"):
                assert row[name] == pytest.approx(expected[name], rel=1e-3)


def result(run: Path) -> dict[str, Any]:
    return json.loads((run / "result.json").read_text())


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        pytest.param("two", ["seed=42,123"], marks=pytest.mark.slow),  # as the mixed launch below, on more rows
        pytest.param("five", ["seed=42,123,456,789,2024"], marks=pytest.mark.slow),
        pytest.param("eight", POINTS, marks=pytest.mark.slow),
    ],
)
def test_a_job_in_lock_step_leaves_what_it_leaves_alone(here: Path, name: str, overrides: list[str]) -> None:
    jobs = ["training.epochs=3", "data.validation_rows=4000", *overrides]  # so that a pair of rows is under 1e-4
    in_lock_step = launched(here, f"{name}-replicas", *jobs, launcher="replicas")
    alone = launched(here, f"{name}-basic", *jobs, launcher="basic")
    assert f"one of {len(in_lock_step)} replicas" in (in_lock_step[-1] / "train.log").read_text()
    assert_same(in_lock_step, alone)


@pytest.mark.parametrize(
    ("name", "jobs"),
    [
        ("mixed", ["model.fusion=gate,concat", "seed=1,2"]),
        pytest.param("three-logs", ["model.fusion=gate,concat", "data.seed=1,2,3", "seed=1,2"], marks=pytest.mark.slow),
    ],
)
def test_a_mixed_launch_is_trained_in_groups_and_returns_in_the_order_of_its_jobs(
    here: Path, name: str, jobs: list[str]
) -> None:
    runs = launched(here, name, *jobs, "training.epochs=1", launcher="replicas")
    logs = [(run / "train.log").read_text() for run in runs]
    assert all("one of 2 replicas" in text for text in logs)
    assert [result(run)["seed"] for run in runs] == [1, 2] * (len(runs) // 2)
    assert_same(runs, launched(here, f"{name}-alone", *jobs, "training.epochs=1", launcher="basic"))


@pytest.mark.slow
def test_max_replicas_bounds_a_group(here: Path) -> None:
    jobs = ["seed=1,2,3", "training.epochs=1", "hydra.launcher.max_replicas=2"]
    logs = [(run / "train.log").read_text() for run in launched(here, "bounded", *jobs, launcher="replicas")]
    assert ["one of 2 replicas" in text for text in logs] == [True, True, False]


def test_a_job_that_fails_takes_none_of_its_group_along(here: Path) -> None:
    end = typed(
        "sweeper",
        "-m",
        *(t for t in TINY if "learning_rate" not in t),
        "training.epochs=2",
        "training.grad_clip_norm=null",
        "training.learning_rate=5e-3,1e30,2e-3",
        "hydra/launcher=replicas",
        "hydra.sweep.dir=failing",
        cwd=here,
    )
    assert end.returncode != 0
    assert "training loss became" in end.stderr
    healthy = [result(here / "failing" / number) for number in ("0", "2")]
    assert [r["epochs"] for r in healthy] == [2, 2]
    assert not (here / "failing/1/result.json").exists()


@pytest.mark.slow
def test_a_sweep_that_asks_in_batches_trains_them_in_lock_step(here: Path) -> None:
    sweep = ["hydra/sweeper=regularization", "hydra.sweeper.n_trials=4", "hydra.sweeper.n_jobs=2"]
    end = typed("sweeper", "-m", *TINY, "training.epochs=1", *sweep, "hydra/launcher=replicas", cwd=here)
    assert end.returncode == 0, end.stderr
    runs = [path.parent for path in (here / "runs").rglob("result.json")]
    assert sorted(result(run)["trial"] for run in runs) == [0, 1, 2, 3]
    assert all("one of 2 replicas" in (run / "train.log").read_text() for run in runs)


def test_every_hyperparameter_of_a_replica_has_its_place_in_the_config() -> None:
    assert list(REPLICA_KEYS) == list(Hyperparameters.__dataclass_fields__)


@pytest.fixture
def three_jobs(tmp_path: Path) -> list[Any]:
    """Jobs of a launch as far as being split goes."""
    recorders = [Recorded() for _ in range(3)]
    return [SimpleNamespace(device=torch.device("cpu"), recorder=recorder) for recorder in recorders]


class Recorded:
    def __init__(self) -> None:
        self.restarts, self.error = 0, None

    def restart(self) -> None:
        self.restarts += 1

    def failed(self, error: Exception) -> None:
        self.error = error


def split(monkeypatch: pytest.MonkeyPatch, jobs: list[Any], fits: int, free: int) -> list[int]:
    """The sizes of the groups that were tried, on a device that takes ``fits`` replicas, of one byte each."""
    tried: list[int] = []

    def train_jobs(group: list[Any]) -> None:
        tried.append(len(group))
        if len(group) > fits:
            raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(lockstep, "train_jobs", train_jobs)
    monkeypatch.setattr(lockstep, "footprint_of", lambda job: Footprint(weights=0, activations=1000))
    monkeypatch.setattr(lockstep, "free_bytes", lambda device: free)
    lockstep.train_group(jobs, Capacity())
    return tried


def test_a_group_is_split_by_the_memory_that_it_is_estimated_to_take(
    monkeypatch: pytest.MonkeyPatch, three_jobs: list[Any]
) -> None:
    assert split(monkeypatch, three_jobs, fits=3, free=10_000) == [3]
    assert split(monkeypatch, three_jobs, fits=3, free=2_500) == [2, 1]


def test_a_group_that_did_not_fit_begins_again_in_smaller_ones(
    monkeypatch: pytest.MonkeyPatch, three_jobs: list[Any]
) -> None:
    assert split(monkeypatch, three_jobs, fits=1, free=10_000) == [3, 2, 1, 1, 1]
    assert [job.recorder.restarts for job in three_jobs] == [2, 2, 1]
    assert [job.recorder.error for job in three_jobs] == [None] * 3


def test_a_single_replica_that_does_not_fit_fails(monkeypatch: pytest.MonkeyPatch, three_jobs: list[Any]) -> None:
    split(monkeypatch, three_jobs[:1], fits=0, free=10_000)
    assert isinstance(three_jobs[0].recorder.error, torch.OutOfMemoryError)


@pytest.mark.parametrize(("device", "in_lock_step"), [("cuda", True), ("cpu", False), ("auto", False)])
def test_auto_trains_in_lock_step_where_there_is_a_gpu(
    monkeypatch: pytest.MonkeyPatch, device: str, in_lock_step: bool
) -> None:
    monkeypatch.setattr("mdaf.sweeper.machine.device.available_devices", lambda: ["cpu"])
    monkeypatch.setattr(lockstep, "launch", lambda *given: ["in lock-step"])
    monkeypatch.setattr(BasicLauncher, "launch", lambda self, overrides, first: ["one by one"])
    launcher = AutoLauncher()
    config = OmegaConf.create({"device": {"name": device}})
    launcher.setup(hydra_context=HydraContext(None, None), task_function=job.__wrapped__, config=config)  # type: ignore
    assert launcher.launch([["seed=1"], ["seed=2"]], 0) == ["in lock-step" if in_lock_step else "one by one"]


@pytest.mark.parametrize("sweeper", ["basic", "study"])
def test_another_programs_jobs_are_refused_in_one_line_before_any_runs(tmp_path: Path, sweeper: str) -> None:
    """Hydra's own suites for launchers run tasks of their own, so that this is all that they can show."""
    ran: list[float] = []
    launcher = "hydra.launcher._target_=mdaf.multirun.launching.launcher.ReplicaLauncher"

    def task(cfg: Any) -> float:
        ran.append(cfg.x)
        return sphere(cfg)

    with pytest.raises(UserError, match=r"hydra/launcher=replicas: found the task job of .*sphere\.py") as error:
        sweep(tmp_path, "x=choice(1,2)", launcher, task=task, sweeper=sweeper, stored=False)
    assert "\n" not in str(error.value)
    assert ran == []


TWO_PROCESSES = ("hydra/launcher=replicas", "hydra.launcher.processes=2", "device.threads=1")


def weights(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "best.pt", weights_only=True)["weights"]


def test_jobs_that_two_processes_share_leave_bit_for_bit_what_one_process_leaves(here: Path) -> None:
    """Groups of two seeds in either: the size of a group may change rounding."""
    jobs = ["seed=1,2,3,4", "training.epochs=1", "device.threads=1"]
    together = launched(here, "one-process", *jobs, "hydra.launcher.max_replicas=2", launcher="replicas")
    shared = launched(here, "two-processes", *jobs, "hydra.launcher.processes=2", launcher="replicas")
    assert [run.name for run in shared] == ["0", "1", "2", "3"]
    for run, other in zip(shared, together, strict=True):
        assert {path.name for path in run.rglob("*")} == {path.name for path in other.rglob("*")}
        assert "one of 2 replicas" in (run / "train.log").read_text()
        assert identity(run) == identity(other)
        mine, others = weights(run), weights(other)
        assert mine.keys() == others.keys()
        assert all(torch.equal(mine[name], others[name]) for name in mine)


def identity(run: Path) -> dict[str, Any]:
    """What a result says but for times."""
    found = result(run)
    best = {name: value for name, value in found["best"].items() if "ms" not in name and "seconds" not in name}
    return {name: value for name, value in found.items() if name not in ("steadiness", "checkpoint")} | {"best": best}


def other_process(running: Running) -> int:
    """The process that trains beside a launch."""
    [other] = [int(pid) for pid in Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()]
    return other


def test_the_jobs_of_a_process_that_is_killed_are_named_and_the_others_end(here: Path) -> None:
    words = [*TINY, "seed=1,2", "training.epochs=8", *TWO_PROCESSES, "hydra.sweep.dir=killed"]
    running = Running("sweeper", "-m", *words, cwd=here)
    running.wait_until(here / "killed/1/metrics.csv")
    os.kill(other_process(running), signal.SIGKILL)
    end = running.wait()
    assert end.returncode == 75
    lost = "error: the process of job #1 was killed by SIGKILL; the same command with resume=auto goes on"
    assert end.stderr.splitlines()[-1] == lost
    assert result(here / "killed/0")["epochs"] == 8
    assert not (here / "killed/1/result.json").exists()


@pytest.mark.slow
def test_a_signal_makes_every_process_save_and_leave_and_the_same_command_goes_on(here: Path) -> None:
    words = [*TINY, "seed=1,2", "training.epochs=12", *TWO_PROCESSES, "hydra.sweep.dir=stopped", "resume=auto"]
    running = Running("sweeper", "-m", *words, cwd=here)
    running.wait_until(here / "stopped/1/metrics.csv")
    other = other_process(running)
    os.kill(running.pid, signal.SIGTERM)
    end = running.wait()
    assert (end.returncode, end.stderr.splitlines()[-1][:23]) == (75, "interrupted by SIGTERM;")
    assert not Path(f"/proc/{other}").exists()
    again = typed("sweeper", "-m", *words, cwd=here)
    assert again.returncode == 0, again.stderr
    assert "going on in epoch" in again.stderr
    assert [result(here / "stopped" / number)["epochs"] for number in ("0", "1")] == [12, 12]


def test_processes_that_share_a_cpu_are_none_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    launcher = ReplicaLauncher(processes=2)
    config = OmegaConf.create({"device": {"name": "cuda"}})
    launcher.setup(hydra_context=HydraContext(None, None), task_function=job.__wrapped__, config=config)  # type: ignore
    with pytest.raises(UserError, match=r"hydra\.launcher\.processes: found 2, .* device\.gpus=2"):
        launcher.launch([["seed=1"], ["seed=2"]], 0)
