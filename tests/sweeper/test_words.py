"""First words that are commands: ``mdaf study list`` is ``mdaf-study list``; everything else is an override."""

from __future__ import annotations

import importlib
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf

from mdaf.errors import UserError
from mdaf.sweeper import __main__ as program
from mdaf.terminal import programs
from mdaf.terminal.programs import WORDS, version_line

ROOT = Path(__file__).parents[2]
SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]


def ended(main: Callable[[], object], monkeypatch: pytest.MonkeyPatch, *typed: str) -> object:
    """The exit code of a program with these words."""
    monkeypatch.setattr("sys.argv", list(typed))
    with pytest.raises(SystemExit) as end:
        raise SystemExit(main() or 0)
    return end.value.code


@pytest.mark.parametrize("word", WORDS)
def test_no_override_is_taken_for_a_command(word: str) -> None:
    with pytest.raises(HydraException):  # an override has an equals sign or begins with a sign
        OverridesParser.create().parse_override(word)


def test_a_group_that_is_called_like_a_command_can_still_be_chosen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["mdaf", "data=synthetic_tiny", "--cfg", "job"])
    program.main()
    assert OmegaConf.create(capsys.readouterr().out).data._target_ == "mdaf.data.synthetic.Synthetic"


@pytest.mark.parametrize("typed", [*([name] for name in SCRIPTS), *(["mdaf", word] for word in WORDS)], ids=" ".join)
def test_every_command_says_the_version_of_this_program(
    typed: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module, _, name = SCRIPTS[typed[0]].partition(":")
    assert ended(getattr(importlib.import_module(module), name), monkeypatch, *typed, "--version") == 0
    assert capsys.readouterr().out == f"{version_line()}\n"
    assert version_line().startswith("mdaf-sweep 0.")


def test_help_begins_with_the_commands(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(program.main, monkeypatch, "mdaf", "--help") == 0
    shown = capsys.readouterr().out.partition("== Groups")[0]
    assert {word: command.task for word, command in WORDS.items()} == dict(
        line.split(maxsplit=1) for line in shown.splitlines() if line.split(" ")[0] in WORDS
    )


def test_mdaf_alone_shows_lines_to_begin_with_and_every_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(program.main, monkeypatch, "/usr/bin/mdaf") == 2
    shown = capsys.readouterr().err
    assert [line.split()[1] for line in shown.partition("command:")[2].splitlines() if line] == [*WORDS]
    for line in program.STARTS:
        assert f"  mdaf {line} " in shown
        words = line.removeprefix("-m ").split()  # Hydra composes either a sweep or a config that it only shows
        assert ended(program.main, monkeypatch, "mdaf", *words, *([] if words == ["--help"] else ["--cfg", "job"])) == 0


def test_the_module_alone_runs_the_default(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    ran: list[str] = []
    monkeypatch.setattr(program, "job", lambda: ran.append("job"))
    spec = SimpleNamespace(name="mdaf.sweeper.__main__", origin="sweeper/__main__.py")
    monkeypatch.setattr("__main__.__spec__", spec)
    monkeypatch.setattr("sys.argv", ["sweeper/__main__.py"])
    program.main()
    assert ran == ["job"]


def test_a_command_is_named_as_it_was_typed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(program.main, monkeypatch, "mdaf", "phase4", "foo") == 2
    assert "mdaf phase4 --help lists them" in capsys.readouterr().err
    assert ended(program.main, monkeypatch, "mdaf", "study", "lisst") == 2
    assert "list" in capsys.readouterr().err
    assert programs.program() == "mdaf"


def test_an_installation_without_models_names_the_commands_that_it_has(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def absent(extra: str, what: str) -> None:
        raise UserError(f"{what} needs the extra [{extra}]")

    monkeypatch.setattr(program, "require", absent)
    assert ended(program.main, monkeypatch, "mdaf", "seed=1") == 2
    light = [word for word, command in WORDS.items() if command.extra is None]
    assert {"runs", "study", "doctor"} <= set(light)
    named = ", ".join(f"mdaf {word}" for word in light)
    assert capsys.readouterr().err == f"error: mdaf needs the extra [ctr]; without it there are {named}\n"
    assert ended(program.main, monkeypatch, "mdaf", "docter") == 2
    assert capsys.readouterr().err == "error: 'docter' is not understood; did you mean mdaf doctor?\n"
    assert ended(program.main, monkeypatch, "mdaf", "--help") == 0
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines() if line.startswith("  mdaf ")] == light
