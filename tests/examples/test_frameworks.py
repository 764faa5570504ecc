"""The examples for scikit-learn and for Lightning: two workers search, a pruner stops some, kill -9 loses nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from tests.examples.readme import blocks, copy_of, run
from tests.processes import ROOT

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
# What a light installation lacks, and a program for scikit-learn does not need.
ABSENT = ("torch", "numba", "polars", "plotly", "lightning")
LIGHTNING = pytest.mark.skipif(find_spec("lightning") is None, reason="lightning is not installed")
EXAMPLES = [
    pytest.param("scikit_learn", "digits", ABSENT, id="scikit_learn"),
    pytest.param("lightning", "spirals", (), id="lightning", marks=[pytest.mark.slow, LIGHTNING]),
]


def environment(folder: Path, absent: tuple[str, ...]) -> dict[str, str]:
    """The environment of a process in which these packages cannot be imported."""
    for name in absent:
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(f"raise ImportError('{name} is not installed')")
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]), "OMP_NUM_THREADS": "1"}


def trials(folder: Path, study: str) -> list[FrozenTrial]:
    """The study's trials; none before it is there."""
    if not (folder / "runs/studies.db").exists():
        return []
    try:
        return optuna.load_study(study_name=study, storage=f"sqlite:///{folder}/runs/studies.db").trials
    except KeyError:
        return []


def finished(folder: Path, study: str) -> list[FrozenTrial]:
    return [trial for trial in trials(folder, study) if trial.state in FINISHED]


def wait_for_the_end_of(workers: set[int]) -> None:
    """They leave when the process that started them is gone. A trial that one of them still runs would count."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and any(Path(f"/proc/{number}/stat").exists() for number in workers):
        time.sleep(0.1)


@pytest.mark.parametrize(("example", "study", "absent"), EXAMPLES)
def test_two_workers_search_with_a_pruner_and_the_same_command_goes_on_after_kill_9(
    tmp_path: Path, example: str, study: str, absent: tuple[str, ...]
) -> None:
    folder = copy_of(example, tmp_path)
    command = [sys.executable, *blocks(example)[0][1].split()[1:], "hydra.sweeper.n_trials=12"]
    options = {"cwd": folder, "env": environment(tmp_path / "absent", absent)}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **options) as first:  # type: ignore[call-overload]
        deadline = time.monotonic() + 200
        while len(before := finished(folder, study)) < 3:
            assert first.poll() is None, first.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.2)
        first.kill()
    workers = [trial.user_attrs["worker"] for trial in trials(folder, study) if "worker" in trial.user_attrs]
    wait_for_the_end_of({int(worker.split(":")[1]) for worker in workers})
    again = subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    assert again.returncode == 0, again.stderr
    after = trials(folder, study)
    assert len(finished(folder, study)) == 12
    assert {trial.state for trial in after} - {TrialState.FAIL} == set(FINISHED)
    assert all(
        "died" in trial.user_attrs or "interrupted" in trial.user_attrs for trial in after if trial.state.name == "FAIL"
    )
    for trial in before:
        assert (after[trial.number].params, after[trial.number].values) == (trial.params, trial.values)
    assert after[0].user_attrs["point"] == "default"
    assert len({trial.user_attrs["worker"] for trial in after}) >= 2  # one may leave nothing to another


@pytest.mark.slow
@pytest.mark.parametrize(("example", "study", "absent"), EXAMPLES)
def test_the_lines_of_its_readme_run_as_typed(
    tmp_path: Path, example: str, study: str, absent: tuple[str, ...]
) -> None:
    folder = copy_of(example, tmp_path)
    for line in blocks(example)[0]:
        shown = run(line, folder).stdout
    assert len(finished(folder, study)) == 24
    assert shown.splitlines()[-1].startswith("python train.py --config-name sweep ")


@pytest.mark.slow
@pytest.mark.parametrize(("example", "study", "absent"), EXAMPLES)
def test_its_verdict_is_given_by_the_line_of_its_readme(
    tmp_path: Path, example: str, study: str, absent: tuple[str, ...]
) -> None:
    folder = copy_of(example, tmp_path)
    _, search, *_ = blocks(example)[0]
    run(f"{search} hydra.sweeper.n_trials=6", folder)
    [verdict] = blocks(example)[1]
    said = run(f"{verdict} confirm.top=1 --yes", folder).stdout
    assert "indistinguishable" in said or "is better than default" in said
    report = f"runs/phase4/{study}/report/report.json"
    assert "figures of" in run(f"mdaf-phase4 verify {report}", folder).stdout
