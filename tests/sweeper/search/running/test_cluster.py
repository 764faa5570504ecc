"""Sweeps on Ray, submitit and joblib with PostgreSQL: exactly their trials finish, though a node or a job is killed."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from mdaf.extras import install
from mdaf.sweeper.storage.opening import open_storage
from mdaf.sweeper.trials.user_attrs import DIED, JOB, RETRY_OF, WITHDRAWN
from tests.sweeper import postgresql
from tests.sweeper.search.test_killed_sweep import children_of
from tests.sweeper.tiny import ROOT

TRIALS = 40
INSTALL = f"the plugin is not installed: {install('cluster')}"
Lose = Callable[[list[FrozenTrial]], bool]  # whether there was something to lose


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgresql.server() as url:
        yield url


def trials_of(url: str, study: str) -> list[FrozenTrial]:
    try:
        return optuna.load_study(study_name=study, storage=open_storage(url, create=False)).get_trials()
    except (KeyError, ValueError):
        return []  # not yet


@contextmanager
def sweep(folder: Path, url: str, study: str, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """The test program's sweep, in a process of its own; what it says goes to a file."""
    command = [sys.executable, "-m", "tests.sweeper.program", "-m", "hydra.searchpath=[pkg://mdaf.conf]"]
    command += [
        f"hydra.sweeper.study_name={study}",
        f"hydra.sweeper.storage='{url}'",
        f"hydra.sweeper.n_trials={TRIALS}",
    ]
    variables = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | environment
    with (folder / "said.txt").open("wb") as said:
        process = subprocess.Popen([*command, *arguments], cwd=folder, env=variables, stdout=said, stderr=said)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def finish_although(folder: Path, url: str, study: str, process: subprocess.Popen[bytes], lose: Lose) -> None:
    """Lets half of the trials finish, takes something away, and waits for the end."""
    lost = False
    while process.poll() is None:
        trials = trials_of(url, study)
        if not lost and sum(trial.state is TrialState.COMPLETE for trial in trials) >= TRIALS // 2:
            lost = lose(trials)
        time.sleep(0.3)
    assert lost
    assert process.returncode == 0, (folder / "said.txt").read_text()


def jobs_amid(trials: list[FrozenTrial]) -> list[int]:
    """The processes of the trials whose first epoch is over, and whose last is not."""
    amid = [trial for trial in trials if trial.state is TrialState.RUNNING and len(trial.intermediate_values) == 1]
    return [int(trial.user_attrs[JOB].split(":")[1]) for trial in amid]


def kill_a_job(trials: list[FrozenTrial]) -> bool:
    for process in jobs_amid(trials)[:1]:
        os.kill(process, signal.SIGKILL)
        return True
    return False


def kill_a_node(cluster: Any, node: Any, trials: list[FrozenTrial]) -> bool:
    """As if its machine lost power: Ray's daemon and its workers, one of which is amid a trial."""
    [daemon] = node.all_processes["raylet"]
    workers = children_of(daemon.process.pid)
    if not set(workers) & set(jobs_amid(trials)):
        return False
    for process in workers:
        os.kill(process, signal.SIGKILL)
    cluster.remove_node(node, allow_graceful=False)
    return True


def check(folder: Path, trials: list[FrozenTrial]) -> None:
    states = Counter(trial.state for trial in trials if WITHDRAWN not in trial.user_attrs)
    died = [trial for trial in trials if DIED in trial.user_attrs]
    assert states == {TrialState.COMPLETE: TRIALS, TrialState.FAIL: len(died)}
    assert died
    retried = {trial.user_attrs[RETRY_OF]: trial for trial in trials if RETRY_OF in trial.user_attrs}
    for trial in died:
        assert retried[trial.number].params == trial.params
    finished = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    assert len({tuple(trial.params.values()) for trial in finished}) == TRIALS
    for trial in finished:
        assert (folder / f"runs/studies/{folder.name}/{trial.number}/begun").exists()  # where the sweep was typed
        assert len(trial.intermediate_values) == 3  # reported from the node
    print(f"{folder.name}: {dict(states)}, died: {[trial.user_attrs[DIED][:70] for trial in died]}")


@pytest.mark.slow
def test_forty_trials_finish_on_a_ray_cluster_of_three_nodes_of_which_one_is_killed(
    tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("hydra_plugins.hydra_ray_launcher", reason=INSTALL)
    cluster_utils = pytest.importorskip("ray.cluster_utils", reason=INSTALL)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    folder = tmp_path / "ray"
    folder.mkdir()
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    try:
        nodes = [cluster.add_node(num_cpus=2) for _ in range(2)]
        cluster.wait_for_nodes()
        arguments = ("hydra/launcher=ray", "hydra.sweeper.n_jobs=6", "seconds=1.5")
        with sweep(folder, server, "ray", *arguments, RAY_ADDRESS=cluster.address) as process:
            finish_although(folder, server, "ray", process, functools.partial(kill_a_node, cluster, nodes[0]))
    finally:
        cluster.shutdown()
    check(folder, trials_of(server, "ray"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "plugin"), [("submitit_local", "submitit"), ("joblib", "joblib")], ids=["submitit", "joblib"]
)
def test_forty_trials_finish_although_a_job_is_killed(tmp_path: Path, server: str, launcher: str, plugin: str) -> None:
    pytest.importorskip(f"hydra_plugins.hydra_{plugin}_launcher", reason=INSTALL)
    folder = tmp_path / plugin
    folder.mkdir()
    arguments = (f"hydra/launcher={launcher}", "hydra.sweeper.n_jobs=3", "seconds=1.5")
    with sweep(folder, server, plugin, *arguments) as process:
        finish_although(folder, server, plugin, process, kill_a_job)
    check(folder, trials_of(server, plugin))


@pytest.mark.slow
def test_a_sweep_may_leave_and_what_its_jobs_came_to_counts_when_it_returns(tmp_path: Path, server: str) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason=INSTALL)
    arguments = ("hydra/launcher=submitit_local", "hydra.sweeper.n_jobs=2", "hydra.sweeper.n_trials=4", "seconds=9")
    with sweep(tmp_path, server, "left", *arguments):
        while len(jobs := jobs_amid(trials_of(server, "left"))) < 2:
            time.sleep(0.3)
    while any(Path(f"/proc/{job}").exists() for job in jobs):  # the sweep was killed, and they go on
        time.sleep(0.3)
    assert [trial.state for trial in trials_of(server, "left")] == [TrialState.RUNNING] * 2
    with sweep(tmp_path, server, "left", *arguments) as process:
        assert process.wait() == 0, (tmp_path / "said.txt").read_text()
    trials = trials_of(server, "left")
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 4
    assert not any(DIED in trial.user_attrs or RETRY_OF in trial.user_attrs for trial in trials)
