"""A sweep of any Hydra program as somebody watches it: one block on a terminal, one line a trial in a pipe."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from mdaf.processes.interruption import EXIT_RESUMABLE
from tests.processes import Running
from tests.terminals import screen_of

PROGRAM = ("tests.sweeper.program", "-m")
NEXT = "next, the best trials and how to run them again: mdaf-study best --study test --storage sqlite:///studies.db"
FORCE = ("hydra.sweeper.force=true",)  # the jobs of the study took no time before
HIDE = "\x1b[?25l"


def words_of(lines: list[str]) -> str:
    return " ".join(" ".join(lines).split())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("watched")


def test_a_sweep_is_one_line_a_trial_in_a_pipe(folder: Path) -> None:
    run = Running(*PROGRAM, "hydra.sweeper.n_trials=3", cwd=folder).wait()
    assert run.returncode == 0, run.stderr
    said = run.stdout + run.stderr
    assert "\x1b" not in said
    assert "left" not in said
    ended = [line for line in said.splitlines() if "] trial " in line]
    assert len(ended) == 3
    assert NEXT in said


def test_ctrl_c_leaves_a_clean_terminal_and_the_same_command_goes_on(folder: Path) -> None:
    typed = (*PROGRAM, "hydra.sweeper.n_trials=6", "seconds=2", *FORCE)
    sweep = Running(*typed, cwd=folder, terminal=60)
    sweep.wait_until_shown("running")
    assert sweep.terminal is not None
    sweep.terminal.type("\x03")
    stopped = sweep.wait(60)
    assert stopped.returncode == EXIT_RESUMABLE
    assert HIDE not in stopped.stdout
    block = stopped.stdout[: stopped.stdout.rindex("until")]
    shown = screen_of(block.replace("\r\n", "\n"), 60)
    assert "trials     3 of 6 done" in words_with_gaps(shown)
    assert "best       trial" in words_with_gaps(shown)
    assert "running    trial" in words_with_gaps(shown)
    left_behind = words_with_gaps(screen_of(stopped.stdout.replace("\r\n", "\n"), 60))
    assert "trials     3 of 6 done" not in left_behind
    assert "the same command" in words_of(left_behind.splitlines())


def words_with_gaps(lines: list[str]) -> str:
    return "\n".join(line.rstrip() for line in lines)


def test_a_dumb_terminal_shows_no_block(folder: Path) -> None:
    run = Running(
        *PROGRAM, "hydra.sweeper.n_trials=4", "seconds=2", *FORCE, cwd=folder, terminal=60, environment={"TERM": "dumb"}
    ).wait(60)
    assert run.returncode == 0, run.stdout
    assert "running    trial" not in run.stdout
    assert "\x1b[2K" not in run.stdout


JOBLIB = pytest.param(
    ["hydra/launcher=joblib", "hydra.sweeper.n_jobs=2"],
    marks=pytest.mark.skipif(
        find_spec("hydra_plugins.hydra_joblib_launcher") is None, reason="hydra-joblib-launcher is absent"
    ),
)


@pytest.mark.slow
@pytest.mark.parametrize("columns", [60, 80, 120])
@pytest.mark.parametrize("further", [["hydra.sweeper.workers=2"], JOBLIB])
def test_output_of_other_processes_scrolls_above_the_block(tmp_path: Path, columns: int, further: list[str]) -> None:
    typed = (*PROGRAM, "hydra.sweeper.n_trials=4", "seconds=1", *further)
    run = Running(*typed, cwd=tmp_path, terminal=columns).wait(120)
    assert run.returncode == 0, run.stdout
    lines = [line.rstrip() for line in screen_of(run.stdout.replace("\r\n", "\n"), columns)]
    assert not any(line.startswith(("running  ", "trials  ", "left  ")) for line in lines)
    assert sum("] trial " in line for line in lines) == 4
