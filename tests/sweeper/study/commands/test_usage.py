"""What is typed wrongly after a command of `mdaf-study` or `mdaf-phase4` is one line that says where help is."""

from __future__ import annotations

import pytest
from typer import Typer
from typer.testing import CliRunner

from mdaf.multirun.commands import app as phase4
from mdaf.sweeper.study.cli import app as study


@pytest.mark.parametrize(
    ("app", "typed", "named"),
    [
        (study, "plot", "--output"),
        (study, "lst", "'lst'"),
        (study, "best --stduy base", "--stduy"),
        (study, "best --format xml", "'xml'"),
        (study, "show seven", "[N]"),
        (study, "trials base", "base"),
        (study, "--storage sqlite:///x.db list", "--storage"),
        (study, "best --study", "--study"),
        (phase4, "verify", "report"),
        (phase4, "verify report.json --deeep", "--deeep"),
    ],
)
def test_a_mistake_in_a_command_is_one_line_that_says_where_help_is(app: Typer, typed: str, named: str) -> None:
    said = CliRunner().invoke(app, typed.split())
    assert said.exit_code == 2
    [line] = said.stderr.splitlines()
    assert named in line
    assert "--help" in line


@pytest.mark.parametrize("app", [study, phase4])
def test_a_program_without_a_command_lists_its_commands(app: Typer) -> None:
    said = CliRunner().invoke(app, [])
    assert "Commands" in said.stdout + said.stderr
    assert CliRunner().invoke(app, ["--help"]).exit_code == 0
