"""Several processes on one study: exactly its trials, no point twice, no lock error, nobody idle."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from mdaf.sweeper.storage.opening import open_storage
from mdaf.sweeper.trials.user_attrs import WITHDRAWN, WORKER
from tests.sweeper import postgresql
from tests.sweeper.tiny import ROOT

ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


@contextmanager
def storage(kind: str, folder: Path) -> Iterator[str]:
    if kind == "postgresql":
        with postgresql.server() as url:
            yield url
    else:
        yield f"{kind}:///{folder}/studies.db"


def command(url: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "tests.sweeper.program", "-m", f"hydra.sweeper.storage='{url}'", *arguments]


def trials_of(url: str) -> list[FrozenTrial]:
    return optuna.load_study(study_name="test", storage=open_storage(url, create=False)).get_trials()


def check(trials: list[FrozenTrial], n_trials: int) -> None:
    states = Counter(trial.state for trial in trials if WITHDRAWN not in trial.user_attrs)
    assert states == {TrialState.COMPLETE: n_trials}, [trial.user_attrs for trial in trials]
    points = {tuple(sorted(trial.params.items())) for trial in trials if trial.state is TrialState.COMPLETE}
    assert len(points) == n_trials


def idle_share(trials: list[FrozenTrial]) -> float:
    """The share of the time between their first and their last trial in which workers had none."""
    spans = defaultdict(list)
    for trial in trials:
        if trial.state is TrialState.COMPLETE:
            assert trial.datetime_start is not None
            assert trial.datetime_complete is not None
            spans[trial.user_attrs[WORKER]].append((trial.datetime_start, trial.datetime_complete))
    busy = sum((end - begin for each in spans.values() for begin, end in each), timedelta())
    whole = sum((max(end for _, end in each) - min(begin for begin, _ in each) for each in spans.values()), timedelta())
    return 1 - busy / whole


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "journal", "postgresql"])
def test_four_workers_of_one_command_finish_exactly_the_trials_and_are_hardly_idle(tmp_path: Path, kind: str) -> None:
    with storage(kind, tmp_path) as url:
        arguments = ("hydra.sweeper.n_trials=40", "hydra.sweeper.workers=4", "seconds=3")
        run = subprocess.run(
            command(url, *arguments), cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, run.stderr
        trials = trials_of(url)
    check(trials, 40)
    assert len({trial.user_attrs[WORKER] for trial in trials}) == 4
    assert "lock" not in run.stderr
    share = idle_share(trials)
    print(f"{kind}: idle {share:.2%}")
    assert share < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
@pytest.mark.parametrize("sampler", ["tpe", "qmc", "grid"])
def test_the_same_command_typed_four_times_at_once_finishes_exactly_the_trials(
    tmp_path: Path, kind: str, sampler: str
) -> None:
    space = {"grid": ["x=range(0,6)", "y=range(0,6)"]}.get(sampler, [])
    known = "hydra.sweeper.enqueue={first: {x: 0, y: 0}, second: {x: 1, y: 1}}"
    with storage(kind, tmp_path) as url:
        arguments = (f"hydra/sweeper/sampler={sampler}", "hydra.sweeper.n_trials=31", "seconds=0.05", known, *space)
        processes = [
            subprocess.Popen(
                command(url, *arguments), cwd=tmp_path, env=ENVIRONMENT, stderr=subprocess.PIPE, stdout=subprocess.PIPE
            )
            for _ in range(4)
        ]
        outputs = [process.communicate(timeout=250) for process in processes]
        for process, (_, errors) in zip(processes, outputs, strict=True):
            assert process.returncode == 0, errors.decode()
        check(trials_of(url), 31)
