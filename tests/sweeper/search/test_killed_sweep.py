"""A sweep that is killed at any moment goes on with the same command, and nothing is lost, doubled or left running."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from mdaf.sweeper.storage.opening import open_storage
from mdaf.sweeper.trials.user_attrs import DEATHS, DEFAULT_MAX_DEATHS, DIED, RETRY_OF, WITHDRAWN
from tests.processes import Running
from tests.sweeper.inside import TINIER

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


def trials_in(folder: Path) -> list[FrozenTrial]:
    storage = open_storage(f"sqlite:///{folder}/studies.db", create=False)
    return optuna.load_study(study_name="test", storage=storage).get_trials()


def children_of(process: int) -> list[int]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(fields[1]) == process:
                found.append(int(folder.name))
    return found


def check(folder: Path, n_trials: int) -> None:
    """What must hold when the last sweep is over."""
    trials = trials_in(folder)
    states = Counter(trial.state for trial in trials)
    assert states[TrialState.COMPLETE] + states[TrialState.PRUNED] == n_trials
    assert states[TrialState.RUNNING] == states[TrialState.WAITING] == 0
    assert [trial.number for trial in trials] == list(range(len(trials)))
    for trial in trials:
        if trial.state is TrialState.FAIL:
            assert DIED in trial.user_attrs or WITHDRAWN in trial.user_attrs, trial.user_attrs.get("error")
            assert WITHDRAWN not in trial.user_attrs or not trial.params  # it never had a job
    finished = [tuple(sorted(trial.params.items())) for trial in trials if trial.state in FINISHED]
    assert len(set(finished)) == n_trials
    retried = Counter(trial.user_attrs[RETRY_OF] for trial in trials if RETRY_OF in trial.user_attrs)
    with_point = [trial for trial in trials if DIED in trial.user_attrs and trial.params]
    for trial in with_point:
        deaths = trial.user_attrs.get(DEATHS, 0) + 1
        assert retried[trial.number] == (deaths < DEFAULT_MAX_DEATHS)  # it may be what kills
    for trial in trials:
        if trial.state in FINISHED:
            assert (folder / f"runs/studies/test/{trial.number}/begun").exists()


def begun(folder: Path) -> int:
    """How many jobs have begun so far."""
    return len(list(folder.glob("runs/studies/test/*/begun")))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_sweep_killed_at_ten_random_moments_ends_with_exactly_its_trials(tmp_path: Path, workers: int) -> None:
    moments, n_trials = random.Random(workers), 30 * workers
    arguments = (
        f"hydra.sweeper.n_trials={n_trials}",
        f"hydra.sweeper.workers={workers}",
        "seconds=0.5",
        "hydra.sweeper.pruner={_target_: optuna.pruners.MedianPruner, n_warmup_steps: 2}",
        "hydra.sweeper.enqueue={first: {x: 0.1, y: 0.1}, second: {x: 0.2, y: 0.2}}",
    )
    for _ in range(10):
        before = begun(tmp_path)
        sweep = Running("tests.sweeper.program", "-m", *arguments, cwd=tmp_path)
        starting = moments.random() < 0.2  # and is killed before it has begun a job
        while not starting and begun(tmp_path) == before:
            time.sleep(0.05)
        time.sleep(moments.uniform(0.0, 1.0))
        victims = [sweep.pid, *children_of(sweep.pid)]
        for victim in victims if moments.random() < 0.5 else victims[:1]:  # the power fails, or one process is killed
            os.kill(victim, signal.SIGKILL)
        assert sweep.wait(60).returncode == -signal.SIGKILL
        while any(Path(f"/proc/{victim}").exists() for victim in victims[1:]):
            time.sleep(0.05)  # workers that outlived the one who started them end by themselves
    last = Running("tests.sweeper.program", "-m", *arguments, cwd=tmp_path).wait()
    assert last.returncode == 0, last.stderr
    check(tmp_path, n_trials)
    assert any(DIED in trial.user_attrs for trial in trials_in(tmp_path))


@pytest.mark.slow
def test_workers_that_are_killed_are_replaced_and_their_trials_tried_again(tmp_path: Path) -> None:
    sweep = Running(
        "tests.sweeper.program",
        "-m",
        "hydra.sweeper.n_trials=16",
        "hydra.sweeper.workers=2",
        "seconds=1.5",
        cwd=tmp_path,
    )
    sweep.wait_until(tmp_path / "runs/studies/test/2/begun")
    os.kill(children_of(sweep.pid)[0], signal.SIGKILL)
    end = sweep.wait()
    assert end.returncode == 0, end.stderr
    check(tmp_path, 16)
    assert sum(DIED in trial.user_attrs for trial in trials_in(tmp_path)) == 1


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_ctrl_c_ends_all_processes_at_once_and_leaves_nothing_running(tmp_path: Path, workers: int) -> None:
    arguments = ("hydra.sweeper.n_trials=50", f"hydra.sweeper.workers={workers}", "seconds=0.3")
    sweep = Running("tests.sweeper.program", "-m", *arguments, cwd=tmp_path)
    sweep.wait_until(tmp_path / f"runs/studies/test/{workers}/begun")
    children = children_of(sweep.pid)
    assert len(children) == (workers if workers > 1 else 0)
    sweep.interrupt()
    assert sweep.wait(60).returncode not in (0, -signal.SIGKILL)
    assert not any(Path(f"/proc/{child}").exists() for child in children)
    trials = trials_in(tmp_path)
    assert not any(trial.state is TrialState.RUNNING for trial in trials)
    # A trial that had no point yet has nothing to try again; a worker may have begun, and left, another one's retry.
    interrupted = [trial.number for trial in trials if DIED in trial.user_attrs and trial.params]
    retries = {trial.user_attrs[RETRY_OF]: trial for trial in trials if RETRY_OF in trial.user_attrs}
    assert sorted(retries) == interrupted
    waiting = {trial.number for trial in trials if trial.state is TrialState.WAITING}
    assert waiting == {trial.number for trial in retries.values()} - set(interrupted)


@pytest.mark.slow
def test_a_worker_whose_job_swallows_ctrl_c_ends_after_that_job(tmp_path: Path) -> None:
    sweep = Running(
        "tests.sweeper.program",
        "-m",
        "hydra.sweeper.n_trials=50",
        "hydra.sweeper.workers=2",
        "seconds=0.3",
        "broken=deaf",
        cwd=tmp_path,
    )
    sweep.wait_until(tmp_path / "runs/studies/test/2/begun")
    before = begun(tmp_path)
    sweep.interrupt()
    assert sweep.wait(60).returncode not in (0, -signal.SIGKILL)
    assert begun(tmp_path) - before <= 2
    assert not any(trial.state is TrialState.RUNNING for trial in trials_in(tmp_path))


def test_ctrl_c_while_the_workers_start_ends_them_as_soon_as_they_listen(tmp_path: Path) -> None:
    arguments = ("hydra.sweeper.n_trials=50", "hydra.sweeper.workers=2", "seconds=0.3")
    sweep = Running("tests.sweeper.program", "-m", *arguments, cwd=tmp_path)
    while len(children := children_of(sweep.pid)) < 2:
        assert sweep.poll() is None
        time.sleep(0.01)
    sweep.interrupt()
    assert sweep.wait(60).returncode not in (0, -signal.SIGKILL)
    assert not any(Path(f"/proc/{child}").exists() for child in children)
    assert not any(trial.state in (TrialState.RUNNING, *FINISHED) for trial in trials_in(tmp_path))


@pytest.mark.slow
def test_a_worker_that_hangs_is_replaced_and_its_trial_goes_on_where_it_hung(tmp_path: Path) -> None:
    studies, hang = f"sqlite:///{tmp_path}/studies.db", ("device.guard.hang=5", "training.checkpoint_seconds=0")
    typed = ("-m", *TINIER, "training.epochs=3", "hydra/sweeper=regularization", "hydra.sweeper.n_trials=3", *hang)
    place = (f"hydra.sweeper.storage={studies}", "hydra.sweeper.study_name=test", "hydra.sweep.dir=runs/studies/test")
    sweep = Running("tests.sweeper.hanging", *typed, *place, "sweep.workers=2", "resume=auto", cwd=tmp_path).wait()
    assert sweep.returncode == 0, sweep.stderr
    assert "hung and is replaced" in sweep.stderr
    trials = trials_in(tmp_path)
    assert Counter(trial.state for trial in trials) == {TrialState.COMPLETE: 3, TrialState.FAIL: 1}
    [hung] = [trial for trial in trials if trial.state is TrialState.FAIL]
    [retry] = [trial for trial in trials if trial.user_attrs.get(RETRY_OF) == hung.number]
    assert retry.params == hung.params
    assert (tmp_path / f"runs/studies/test/{hung.number}/hang.txt").exists()
    log = (tmp_path / f"runs/studies/test/{retry.number}/train.log").read_text()
    assert "going on in epoch 2 after step 3" in log
