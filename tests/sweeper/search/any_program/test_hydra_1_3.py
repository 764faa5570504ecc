"""The sweeper with Hydra 1.3.2 and without upstream's package, from a wheel in an environment of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from mdaf.sweeper.storage.opening import open_storage
from mdaf.sweeper.trials.user_attrs import DIED, WITHDRAWN
from tests.test_packaging import copied

VERSIONS = ("hydra-core==1.3.2", "omegaconf==2.3.0")
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)

PROGRAM = """
import time

import hydra

import mdaf


@hydra.main(config_path=".", config_name="config", version_base="1.3")
def main(cfg):
    trial = mdaf.attach()
    for epoch in range(1, 5):
        time.sleep(cfg.seconds)
        value = (cfg.x - 0.3) ** 2 + 1 / epoch
        trial.report(epoch, value, last=epoch == 4)
    return value


if __name__ == "__main__":
    main()
"""
CONFIG = """
defaults: [_self_, {override hydra/sweeper: study}]
x: 0.5
opt: {name: adam, layers: [8]}
seconds: 0.1
hydra:
  sweep: {dir: "runs/${hydra.sweeper.study_name}", subdir: "${hydra.job.num}"}
  sweeper:
    study_name: theirs
    storage: sqlite:///studies.db
    n_trials: 12
    workers: 2
    sampler: {seed: 3}
    pruner: {_target_: optuna.pruners.MedianPruner, n_startup_trials: 2}
    params: {x: "tag(log, interval(0.01, 1))", opt.name: "adam, sgd", opt.layers: "choice([8], [16,8])"}
"""
OWN = """
import os

from optuna.samplers import RandomSampler


class Mine(RandomSampler):
    def __init__(self, seed=None, width=1.0):
        super().__init__(seed)


touch = os.system
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with a wheel of this project. Skips where packages cannot be fetched."""
    folder = tmp_path_factory.mktemp("hydra-1.3")
    source = copied(folder / "source")
    build = "from setuptools import build_meta; print(build_meta.build_wheel('.'))"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    subprocess.run([sys.executable, "-m", "venv", folder / "env"], check=True)
    wheel = next(source.glob("*.whl"))
    made = folder / "env/bin/python"
    install = [made, "-m", "pip", "install", "--quiet", *VERSIONS, wheel]
    installed = subprocess.run(install, capture_output=True, text=True)
    if installed.returncode and any(sign in installed.stderr for sign in ("Connection", "No matching", "resolve host")):
        pytest.skip(f"packages cannot be fetched: {installed.stderr.splitlines()[-1]}")
    assert installed.returncode == 0, installed.stderr
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in {"app.py": PROGRAM, "config.yaml": CONFIG, "mine.py": OWN}.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def ran(python: Path, folder: Path, *typed: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, *typed], cwd=folder, env={**environment(), **variables}, capture_output=True, text=True
    )


def environment(**changes: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MDAF_ALLOW")} | changes


def trials_in(folder: Path) -> list[FrozenTrial]:
    storage = open_storage(f"sqlite:///{folder}/studies.db", create=False)
    return optuna.load_study(study_name="theirs", storage=storage).get_trials()


def finished_in(folder: Path) -> int:
    try:
        return sum(trial.state in FINISHED for trial in trials_in(folder))
    except Exception:  # the database or the study is not there yet
        return 0


@pytest.mark.slow
def test_two_workers_prune_and_a_sweep_that_was_killed_goes_on(python: Path, folder: Path) -> None:
    sweep = subprocess.Popen([python, "app.py", "-m"], cwd=folder, env=environment(), start_new_session=True)
    while finished_in(folder) < 3:
        assert sweep.poll() is None
        time.sleep(0.2)
    os.kill(sweep.pid, signal.SIGKILL)
    sweep.wait()
    assert 3 <= finished_in(folder) < 12
    again = ran(python, folder, "app.py", "-m")
    assert again.returncode == 0, again.stderr
    trials = trials_in(folder)
    states = Counter(trial.state for trial in trials)
    assert states[TrialState.COMPLETE] + states[TrialState.PRUNED] == 12
    assert states[TrialState.PRUNED] > 0
    assert states[TrialState.RUNNING] == states[TrialState.WAITING] == 0
    failed = [trial for trial in trials if trial.state is TrialState.FAIL]
    assert all({DIED, WITHDRAWN} & set(trial.user_attrs) for trial in failed)  # by the kill, some before they began
    assert len({trial.user_attrs["worker"] for trial in trials}) >= 3
    assert {str(trial.params["opt.layers"]) for trial in trials if trial.params} == {"[8]", "[16,8]"}

    command = folder / "best.sh"
    study = [str(python.with_name("mdaf-study")), "best", "--storage", "sqlite:///studies.db", "--format", "overrides"]
    best = subprocess.run(study, cwd=folder, env=environment(), capture_output=True, text=True)
    assert best.returncode == 0, best.stderr
    command.write_text(f"{python} app.py {best.stdout}")
    alone = subprocess.run(["sh", command], cwd=folder, env=environment(), capture_output=True, text=True)
    assert alone.returncode == 0, alone.stderr


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["random", "tpe", "cmaes", "nsgaii", "nsgaiii", "grid"])
def test_every_sampler_that_the_light_installation_brings_is_chosen_by_name(
    python: Path, folder: Path, sampler: str
) -> None:
    params = ["x=choice(0.1,0.2,0.3)"] if sampler == "grid" else []
    typed = ("-m", f"hydra/sweeper/sampler={sampler}", *params, *ONE_PROCESS, "~hydra.sweeper.sampler.seed")
    swept = ran(python, folder, "app.py", *typed, "hydra.sweeper.n_trials=3")
    assert swept.returncode == 0, swept.stderr
    assert "best: trial" in swept.stderr + swept.stdout


ONE_PROCESS = ("hydra.sweeper.workers=1", "hydra.sweeper.storage=null", "hydra.sweeper.pruner=null", "seconds=0")


@pytest.mark.slow
def test_a_config_names_only_what_is_allowed_although_hydra_1_3_creates_whatever_is_named(
    python: Path, folder: Path
) -> None:
    for target, entries in (("mine.Mine", ""), ("os.system", "mine.*"), ("mine.touch", "mine.*")):
        node = f"hydra.sweeper.sampler={{_target_: {target}, command: touch it}}"
        refused = ran(python, folder, "app.py", "-m", *ONE_PROCESS, node, MDAF_ALLOW=entries)
        assert refused.returncode != 0
        [line] = [line for line in refused.stderr.splitlines() if line.startswith("error: ")]
        assert "is not on the list of what a config may name" in line
        assert not (folder / "it").exists()
    own = "hydra.sweeper.sampler={_target_: mine.Mine, width: 2}"
    taken = ran(python, folder, "app.py", "-m", *ONE_PROCESS, own, "hydra.sweeper.n_trials=2", MDAF_ALLOW="mine.*")
    assert taken.returncode == 0, taken.stderr


@pytest.mark.slow
def test_a_program_that_names_no_version_base_works_in_its_run_folders_and_shares_one_database(
    python: Path, folder: Path
) -> None:
    """Hydra 1.3 then changes the directory for each job."""
    (folder / "app.py").write_text(PROGRAM.replace(', version_base="1.3"', ""))
    swept = ran(python, folder, "app.py", "-m", "hydra.sweeper.n_trials=3", "hydra.sweeper.workers=1", "seconds=0")
    assert swept.returncode == 0, swept.stderr
    assert all(trial.intermediate_values for trial in trials_in(folder))
    assert [path.relative_to(folder).name for path in folder.rglob("*.db")] == ["studies.db"]


@pytest.mark.slow
def test_this_programs_own_command_says_which_hydra_it_needs(python: Path, folder: Path) -> None:
    activated = environment(PATH=f"{python.parent}{os.pathsep}{os.environ['PATH']}")
    told = subprocess.run(["mdaf"], cwd=folder, env=activated, capture_output=True, text=True)
    assert told.returncode == 2
    [line] = told.stderr.splitlines()
    assert line.startswith("error: mdaf needs the extra [ctr], and found hydra-core 1.3.2, omegaconf 2.3.0: ")
    assert "hydra-core==1.4.0rc3" in line
