"""A race that is killed at any moment goes on with the same command, and no seed of a point is run twice."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest
from optuna.trial import TrialState

from mdaf.sweeper.trials.user_attrs import DEATHS, DIED, POINT_ID, RETRY_OF, SEED, WITHDRAWN
from tests.processes import Running
from tests.sweeper.search.test_killed_sweep import begun, children_of, trials_in


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 3])
def test_a_race_killed_at_ten_random_moments_ends_with_exactly_its_runs(tmp_path: Path, workers: int) -> None:
    moments, n_trials = random.Random(workers), 24 * workers
    arguments = (
        "hydra/sweeper/sampler=racing",
        "hydra.sweeper.sampler.seed_key=+seed",
        "hydra.sweeper.sampler.seeds=[1,2,3,4]",
        f"hydra.sweeper.n_trials={n_trials}",
        f"hydra.sweeper.workers={workers}",
        "x=range(0,5)",  # few points, so that they get further seeds
        "y=range(0,4)",
        "seconds=0.3",
        "hydra.sweeper.enqueue={first: {x: 1, y: 1}, second: {x: 2, y: 2}}",
    )
    for _ in range(10):
        before = begun(tmp_path)
        sweep = Running("tests.sweeper.program", "-m", *arguments, cwd=tmp_path)
        while begun(tmp_path) == before:
            time.sleep(0.05)
        time.sleep(moments.uniform(0.0, 0.8))
        victims = [sweep.pid, *children_of(sweep.pid)]
        for victim in victims if moments.random() < 0.5 else victims[:1]:
            os.kill(victim, signal.SIGKILL)
        assert sweep.wait(60).returncode == -signal.SIGKILL
        while any(Path(f"/proc/{victim}").exists() for victim in victims[1:]):
            time.sleep(0.05)
    last = Running("tests.sweeper.program", "-m", *arguments, cwd=tmp_path).wait()
    assert last.returncode == 0, last.stderr
    trials = trials_in(tmp_path)
    assert not any(trial.state in (TrialState.RUNNING, TrialState.WAITING) for trial in trials)
    runs = [(t.user_attrs[POINT_ID], t.user_attrs[SEED]) for t in trials if t.state is TrialState.COMPLETE]
    assert len(runs) == len(set(runs)) == n_trials
    assert any(seed > 1 for _, seed in runs)
    died = [trial for trial in trials if DIED in trial.user_attrs and WITHDRAWN not in trial.user_attrs]
    assert died
    for trial in trials:
        if RETRY_OF in trial.user_attrs:
            before = trials[trial.user_attrs[RETRY_OF]]
            assert trial.user_attrs[SEED] == before.user_attrs[SEED]
            assert trial.user_attrs.get(DEATHS, 0) <= before.user_attrs.get(DEATHS, 0) + 1
