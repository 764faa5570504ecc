"""README and Start show what their commands print."""

from __future__ import annotations

import json
import os
import random
import re
import shlex
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from hydra import compose, initialize_config_module
from optuna.distributions import FloatDistribution
from optuna.trial import create_trial
from typer.testing import CliRunner

from mdaf import conf
from mdaf.data import __main__ as data_program
from mdaf.naming import studies
from mdaf.sweeper.storage.opening import open_storage
from mdaf.sweeper.study.cli import app
from tests.data.logs import END, REAL_LOG, needs_real_log, write_rows
from tests.data.logs import START as FIRST_SECOND
from tests.docs.shown import BLOCK, Shown, missing, shown
from tests.processes import ROOT

START = "docs/start.md"
STUDY = "regularization-mdaf_mamba-synthetic-main_job"
STEPS = re.findall(r"^\t\$\(BIN\)/(python -m .*)$", (ROOT / "Makefile").read_text().partition("\ntest:")[0], re.M)


def test_start_explains_the_steps_of_make_sweep() -> None:
    table = [row.split("|")[2].strip() for row in (ROOT / START).read_text().splitlines() if "| `python -m" in row]
    assert table == [f"`{step}`" for step in STEPS]
    assert len(STEPS) == 4


def test_what_readme_shows_of_make_sweep_stands_in_start_too() -> None:
    start = (ROOT / START).read_text()
    [verdict] = [block for block in BLOCK.findall((ROOT / "README.md").read_text()) if block.startswith("Verdict")]
    assert len(verdict.splitlines()) == 4
    assert [line for line in verdict.splitlines() if line not in start] == []


def test_the_test_command_of_the_readme_is_what_continuous_integration_runs() -> None:
    assert (ROOT / ".ci/run").read_text().splitlines()[-1] in (ROOT / "README.md").read_text()


def test_the_rules_that_start_shows_are_those_of_the_example(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [table] = [block for block in BLOCK.findall((ROOT / START).read_text()) if "oracle" in block]
    assert data_program.main(["inspect", "experiment=main_job", f"data.root={tmp_path}"]) == 0
    assert missing(Shown("", table.splitlines()), capsys.readouterr().out) == []


def test_the_answers_of_the_study_that_start_shows_are_those_to_its_recorded_trials(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/studies.db"
    recorded = json.loads((ROOT / "tests/docs/main_job.json").read_text())
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(study_name=STUDY, storage=open_storage(url, create=True), direction="maximize")
    for attribute, value in recorded["study"].items():
        study.set_user_attr(attribute, value)
    space = {name: FloatDistribution(**bounds) for name, bounds in recorded["space"].items()}
    for trial in recorded["trials"]:
        study.add_trial(create_trial(**trial, distributions=space))
    asked = [one for one in shown(START) if one.command.startswith("python -m sweeper.study ")]
    assert len(asked) >= 1
    for one in asked:
        words = shlex.split(one.command.removeprefix("python -m sweeper.study "))
        answer = CliRunner().invoke(app, [words[0], "--storage", url, *words[1:]])
        assert missing(one, answer.stdout) == []


def _on_clicks() -> list[Shown]:
    """What Start shows of real clicks: look, one run, a search, its best, a verdict."""
    found = [one for one in shown(START) if "user_behavior" in one.command]
    assert [one.command.split()[0] for one in found] == ["mdaf-data", "mdaf", "mdaf", "mdaf-study", "mdaf-phase4"]
    return found


def test_the_three_further_lines_of_the_readme_are_those_of_start_on_any_device() -> None:
    [lines] = [block for block in BLOCK.findall((ROOT / "README.md").read_text()) if "data=user_behavior" in block]
    _, run, search, _, decide = (one.command.replace(" device=cpu", "") for one in _on_clicks())
    assert re.sub(r"\\\n *", "", lines).splitlines() == [run, search, decide.removesuffix(" --yes")]


def test_the_status_that_is_shown_is_that_of_the_sweep_above_it() -> None:
    typed, status, *_ = BLOCK.findall((ROOT / "docs/how-to/watching-a-sweep.md").read_text())
    words = shlex.split(typed.replace("\\\n", ""))
    assert words[:2] == ["mdaf", "-m"]
    conf.register()
    studies.register()
    with initialize_config_module("mdaf.conf"):
        sweeper = compose("config", words[2:], return_hydra_config=True).hydra.sweeper
    study, trials = (line.split(maxsplit=1)[1] for line in status.splitlines()[:2])
    assert study == sweeper.study_name
    assert f" of {sweeper.n_trials} done" in trials


@pytest.mark.slow
def test_the_commands_on_clicks_work_for_any_log_with_the_columns_of_user_behavior(tmp_path: Path) -> None:
    draw = random.Random(0)
    rows = sorted((user, FIRST_SECOND + draw.randrange(END - FIRST_SECOND)) for user in range(40) for _ in range(60))
    items = [draw.randrange(100) for _ in rows]
    views = [(user, item, item % 9, "pv", time) for (user, time), item in zip(rows, items, strict=True)]
    write_rows(tmp_path / "UserBehavior.csv", views)
    _, run, search, best, decide = (one.command for one in _on_clicks())
    few = " training.steps_per_epoch=2 training.epochs=1"
    for command in (run + few, search.replace("n_trials=8", "n_trials=4") + few, best, decide.replace("[4]", "[3]")):
        said = _output(command, tmp_path)
    assert "\nVerdict\n" in said


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_make_sweep_prints_what_start_shows(tmp_path: Path) -> None:
    """Numbers may differ by a hundredth: other processors round otherwise."""
    printed = {step: _output(step, tmp_path) for step in STEPS}
    for one in shown(START):
        if "user_behavior" not in one.command:
            text = printed.get(one.command) or _output(one.command, tmp_path)
            assert missing(one, text, tolerance=0.01) == [], one.command


@pytest.mark.slow
@pytest.mark.timeout(7200)
@needs_real_log
def test_the_commands_on_real_clicks_print_what_start_shows(tmp_path: Path) -> None:
    (tmp_path / "UserBehavior.csv").symlink_to(REAL_LOG.resolve())
    for one in _on_clicks():
        assert missing(one, _output(one.command, tmp_path), tolerance=0.01) == [], one.command


def _output(command: str, folder: Path) -> str:
    """What a command prints and logs that is typed in ``folder``; its programs are those of this Python.

    It finds the folders of the clone, and has every core, which the tests' own processes have not.
    """
    program, *words = shlex.split(command)
    program = sys.executable if program == "python" else str(Path(sys.executable).parent / program)
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_THREADS")}
    done = subprocess.run(
        [program, *words],
        cwd=folder,
        env=environment | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout
