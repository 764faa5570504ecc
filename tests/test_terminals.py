"""Every command on a terminal as in a pipe: the same exit code, no traceback, the cursor as it was.

In a pipe there is no control sequence; nothing raises where characters or columns are missing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from mdaf import conf
from mdaf.processes.interruption import EXIT_RESUMABLE
from tests.multirun.fakes import STUDY, make_study
from tests.processes import Running
from tests.sweeper.inside import TINIER

HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"
WIDTHS = (60, 80, 120)
TINY = ("data=synthetic_tiny", "model=deepfm", "device=cpu", "training.epochs=1", "training.batch_size=500")
POOR: Mapping[str, Mapping[str, str]] = {
    "dumb": {"TERM": "dumb"},
    "no colour": {"NO_COLOR": "1"},
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "no columns": {"COLUMNS": "0"},
    "one column": {"COLUMNS": "1"},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study of four made-up trials."""
    conf.register()
    folder = tmp_path_factory.mktemp("place")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        (folder / "runs").mkdir()
        make_study(folder / "runs")
    return folder


def check_terminal(said: str) -> None:
    assert "Traceback" not in said
    assert said.rfind(HIDE) <= said.rfind(SHOW)


def in_a_pipe(module: str, *arguments: str, cwd: Path, environment: Mapping[str, str] | None = None) -> int:
    end = Running(module, *arguments, cwd=cwd, environment=environment).wait()
    said = end.stdout + end.stderr
    assert "Traceback" not in said, said
    assert "\x1b" not in said
    return end.returncode


def on_a_terminal(
    columns: int, module: str, *arguments: str, cwd: Path, environment: Mapping[str, str] | None = None
) -> int:
    end = Running(module, *arguments, cwd=cwd, terminal=columns, environment=environment).wait()
    check_terminal(end.stdout)
    return end.returncode


QUERIES = {
    "list": ["list"],
    "show": ["show"],
    "a trial": ["show", "3"],
    "best": ["best", "--top", "2"],
    "best json": ["best", "--format", "json"],
    "trials": ["trials"],
    "importance": ["importance"],
    "compare": ["compare", "0", "1"],
    "export": ["export", "--output", "exported.json"],
    "plot": ["plot", "--output", "page.html"],
    "reap": ["reap"],
    "fetch": ["fetch"],
    "help": ["--help"],
    "a study that is not there": ["show", "--study", "nowhere"],
    "no such command": ["nothing"],
}
FAST = ("list",)


@pytest.mark.parametrize(
    "name", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in QUERIES]
)
def test_a_query_ends_alike_on_a_terminal_and_in_a_pipe(place: Path, name: str) -> None:
    code = in_a_pipe("sweeper.study", *QUERIES[name], cwd=place)
    for columns in WIDTHS if name not in FAST else (60,):
        assert on_a_terminal(columns, "sweeper.study", *QUERIES[name], cwd=place) == code


@pytest.mark.slow
@pytest.mark.parametrize("poor", POOR)
def test_a_poor_terminal_or_locale_raises_nothing(place: Path, poor: str) -> None:
    for name in ("trials", "show"):
        assert in_a_pipe("sweeper.study", *QUERIES[name], cwd=place, environment=POOR[poor]) == 0
        assert on_a_terminal(80, "sweeper.study", *QUERIES[name], cwd=place, environment=POOR[poor]) == 0


@pytest.mark.slow
def test_a_watch_goes_on_until_ctrl_c_and_leaves_the_terminal_as_it_was(place: Path) -> None:
    view = Running("sweeper.study", "watch", "--every", "0.1", cwd=place, terminal=60)
    view.wait_until_shown("Ctrl-C ends this view")
    assert view.terminal is not None
    view.terminal.type("\x03")
    end = view.wait(60)
    check_terminal(end.stdout)
    assert end.returncode == in_a_pipe("sweeper.study", "watch", cwd=place) == 0


def test_a_run_that_ctrl_c_stopped_within_an_epoch_goes_on_on_a_terminal(tmp_path: Path) -> None:
    typed = [*TINIER, "training.batch_size=3", "training.epochs=2", "hydra.run.dir=one"]
    run = Running("sweeper", *typed, cwd=tmp_path, terminal=80)
    run.wait_until_shown("samples/s")
    assert run.terminal is not None
    run.terminal.type("\x03")
    stopped = run.wait(120)
    assert stopped.returncode == EXIT_RESUMABLE
    check_terminal(stopped.stdout)
    assert "the same command with resume=auto goes on" in " ".join(stopped.stdout.split())  # broken between words
    assert on_a_terminal(60, "sweeper", *typed, "resume=auto", cwd=tmp_path) == 0
    assert re.search(r"going on in epoch \d after step [1-9]", (tmp_path / "one/train.log").read_text())


WORK = {
    "data": [
        ["data", "prepare", *TINY[:1]],
        ["data", "inspect", *TINY[:1]],
        ["data", "generate", "data=synthetic_tiny"],
        ["data", "prepare", "data=nothing"],
    ],
    "runs": [
        ["sweeper", *TINY],
        ["sweeper", *TINY, "-m", "seed=1,2"],
        ["sweeper", *TINY, "-m", "hydra/launcher=replicas", "seed=1,2"],
        ["sweeper", *TINY, "training.epochs=nothing"],
        ["sweeper", "--help"],
        ["sweeper", "--cfg", "job"],
    ],
    "sweep": [
        ["sweeper", *TINY, "-m", "hydra/sweeper=regularization", "hydra.sweeper.n_trials=2"],
        ["sweeper", *TINY, "-m", "hydra/sweeper=regularization", "hydra.sweeper.n_trials=4", "sweep.workers=2"],
        ["multirun", "design=research", "points=[balanced]", "seeds=[42,43]", "confirm.top=0", "resamples=20", "--yes"],
        ["multirun", "--help"],
        ["multirun", "points=nothing"],
    ],
}


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", WORK)
@pytest.mark.parametrize("columns", WIDTHS)
def test_every_command_ends_alike_on_a_terminal_and_in_a_pipe(tmp_path: Path, kind: str, columns: int) -> None:
    piped, shown = tmp_path / "piped", tmp_path / "shown"
    piped.mkdir()
    shown.mkdir()
    for module, *arguments in WORK[kind]:
        code = in_a_pipe(module, *arguments, cwd=piped)
        assert on_a_terminal(columns, module, *arguments, cwd=shown) == code, (module, arguments)


@pytest.mark.slow
@pytest.mark.parametrize(("keys", "code"), [("n\n", 1), ("\x04", 1), ("\x03", EXIT_RESUMABLE)])
def test_phase_4_asks_on_a_terminal_and_a_no_starts_nothing(place: Path, keys: str, code: int) -> None:
    asks = Running("multirun", f"study={STUDY}", "force=true", cwd=place, terminal=80)
    asks.wait_until_shown("Start? [y/N]")
    assert asks.terminal is not None
    asks.terminal.type(keys)
    end = asks.wait(60)
    check_terminal(end.stdout)
    assert end.returncode == code
    assert list((place / "runs/phase4").rglob("seed-*")) == []


LONG = ("data=synthetic_tiny", "model=deepfm", "device=cpu", "training.epochs=3", "training.batch_size=20")
LONG += ("training.checkpoint_seconds=0",)
SWEEP = ("sweeper", *LONG, "-m", "hydra/sweeper=regularization", "hydra.sweep.dir=work")
# The command, the file that says that it trains, and what is added to go on.
COMMANDS = {
    "a run": (["sweeper", *LONG, "hydra.run.dir=work"], "work/last.pt", ["resume=auto"]),
    "a grid": (["sweeper", *LONG, "-m", "seed=1,2", "hydra.sweep.dir=work"], "work/0/last.pt", ["resume=auto"]),
    "replicas": (
        ["sweeper", *LONG, "-m", "hydra/launcher=replicas", "seed=1,2", "hydra.sweep.dir=work"],
        "work/0/last.pt",
        ["resume=auto"],
    ),
    "a sweep": ([*SWEEP, "hydra.sweeper.n_trials=1"], "work/0/last.pt", ["resume=auto"]),
    "workers": ([*SWEEP, "hydra.sweeper.n_trials=2", "sweep.workers=2"], "work/0/last.pt", ["resume=auto"]),
    "Phase 4": (
        [
            "multirun",
            "design=research",
            "points=[weak]",
            "seeds=[42]",
            "confirm.top=0",
            "resamples=20",
            "force=true",
            "--yes",
        ],
        "runs/phase4/regularization-deepfm-synthetic_tiny/weak/seed-42/last.pt",
        [],
    ),
}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", COMMANDS)
def test_a_command_whose_terminal_closes_saves_and_goes_on(tmp_path: Path, kind: str) -> None:
    (module, *arguments), trains, further = COMMANDS[kind]
    if kind == "Phase 4":
        assert in_a_pipe(*SWEEP, "hydra.sweeper.n_trials=1", cwd=tmp_path) == 0
    command = Running(module, *arguments, cwd=tmp_path, terminal=80)
    command.wait_until(tmp_path / trains, 280)
    assert command.terminal is not None
    command.terminal.hang_up()
    assert command.wait(120).returncode == EXIT_RESUMABLE
    assert not (tmp_path / trains).with_name("result.json").exists()
    assert in_a_pipe(module, *arguments, *further, cwd=tmp_path) == 0
    logs = [file.read_text() for file in tmp_path.rglob("train.log")]
    assert any("going on in epoch" in log for log in logs)
