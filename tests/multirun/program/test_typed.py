"""The verdict as it is typed: the program is a process of its own, which may be killed with its command."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from mdaf.errors import UserError
from mdaf.multirun.program import typed as typed_program
from mdaf.multirun.program.typed import Program
from mdaf.sweeper.storage.opening import open_storage
from tests.processes import ROOT, Running

APP = """
import pathlib, random, time
import hydra

@hydra.main(config_path=".", config_name="config")
def main(cfg):
    with pathlib.Path("ran.txt").open("a") as file:
        file.write(f"{cfg.x} {cfg.seed}\\n")
    time.sleep(float(cfg.seconds))
    return (cfg.x - 0.3) ** 2 + random.Random(f"{cfg.x} {cfg.seed}").gauss(0, 0.001)

main()
"""
CONFIG = """
x: 0.9
seed: 7
seconds: ${oc.env:SECONDS,0}
"""
VERDICT = ("study=mine", "program=python app.py", "--yes", "confirm.top=1", "confirm.seeds=[1,2]")


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A folder with a program and a study of it, in which x = 0.9 is the usual point."""
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "config.yaml").write_text(CONFIG)
    sweep = [
        "hydra/sweeper=study",
        "hydra.sweeper.storage=sqlite:///runs/studies.db",
        "hydra.sweeper.study_name=mine",
        "hydra.sweeper.n_trials=2",
        "hydra.sweeper.enqueue={usual: {x: 0.9}, better: {x: 0.31}}",
        "x=interval(0,1)",
    ]
    done = Running("app.py", "-m", *sweep, cwd=tmp_path).wait()
    assert done.returncode == 0, done.stderr
    (tmp_path / "ran.txt").unlink()
    return tmp_path


def typed(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return Running("mdaf.multirun", *arguments, cwd=folder).wait()


def runs_in(folder: Path) -> optuna.Study:
    storage = open_storage(f"sqlite:///{folder}/runs/studies.db", create=False, read_only=True)
    return optuna.load_study(study_name="mine-phase4", storage=storage)


def test_a_verdict_whose_program_is_killed_goes_on_with_the_same_command_and_repeats_nothing(program: Path) -> None:
    started = Running("mdaf.multirun", *VERDICT, cwd=program, environment={"SECONDS": "0.3"})
    started.wait_until(program / "runs/phase4/mine/runs/2")
    os.kill(started.pid, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while runs_in(program).get_trials(states=[TrialState.RUNNING]) and time.monotonic() < deadline:
        time.sleep(0.1)  # the program leaves when the command that started it is gone
    assert not runs_in(program).get_trials(states=[TrialState.RUNNING])
    done = {str(sorted(trial.params.items())) for trial in runs_in(program).get_trials(states=[TrialState.COMPLETE])}

    again = typed(program, *VERDICT)
    assert again.returncode == 0, again.stderr
    assert "better is better than usual" in again.stdout.replace("trial-1 is", "better is")
    complete = runs_in(program).get_trials(states=[TrialState.COMPLETE])
    points = Counter(str(sorted(trial.params.items())) for trial in complete)
    assert set(points.values()) == {1}
    assert len(points) == 4 + 8  # answered at the first look
    assert done < set(points)
    begun = Counter((program / "ran.txt").read_text().splitlines())
    assert sum(begun.values()) - len(begun) <= 1  # what was killed in the middle

    check = typed(program, "verify", "runs/phase4/mine/report/report.json")
    assert check.returncode == 0, check.stderr
    assert "figures of 12 runs hold" in check.stdout


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("python -m no.such.module", "No module named 'no'|No module named no"),
        ("python app.py nothing=1", "Could not override 'nothing'"),
        ("python app.py", "app.py.*No such file"),
        ("python -c print(1)", "prints no config with --cfg job, so it is no Hydra program"),
    ],
)
def test_a_program_that_cannot_be_asked_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if "nothing" in text:
        (tmp_path / "app.py").write_text(APP)
        (tmp_path / "config.yaml").write_text(CONFIG)
    with pytest.raises(UserError, match=said) as refused:
        Program.typed(text).config([])
    assert "\n" not in str(refused.value)


def test_a_program_may_print_what_is_no_text_before_its_config() -> None:
    code = "import sys; sys.stdout.buffer.write(b'\\xff\\xfe'); sys.stdout.flush(); print(); print('seed: 7')"
    assert Program.typed(shlex.join(["python", "-c", code])).config([]).seed == 7


def test_a_program_that_never_prints_a_config_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(typed_program, "ASKED_SECONDS", 0.2)
    with pytest.raises(UserError, match=r"has not printed its config \(--cfg job\) within"):
        Program.typed("python -c 'import time; time.sleep(600)'").config([])


def test_without_a_program_the_studys_own_word_is_shown_and_nothing_is_run(program: Path) -> None:
    found = typed(program, "study=mine", "--yes")
    assert found.returncode == 2
    [line] = found.stderr.splitlines()
    assert line.endswith("by the study's own word that is mdaf-phase4 study=mine 'program=python app.py'")
    assert not (program / "ran.txt").exists()


def test_the_verdict_on_another_program_imports_nothing_of_this_programs_own_runs() -> None:
    modules = [f"mdaf.multirun.program.{file.stem}" for file in (ROOT / "multirun/program").glob("[a-z]*.py")]
    modules += ["mdaf.multirun.__main__", "mdaf.multirun.commands"]
    heavy = ["torch", "numba", "polars", "sklearn", "pandas", "mdaf.data", "mdaf.model", "mdaf.sweeper.job"]
    asked = f"import sys, importlib\nfor name in {modules!r}: importlib.import_module(name)\n"
    asked += f"print([name for name in {heavy!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", asked], cwd=ROOT, capture_output=True, text=True)
    assert found.stdout == "[]\n", found.stderr
