"""Writes docs/reference/commands.md: every command with its options, from the programs' parsers, and exit codes."""

from __future__ import annotations

import argparse
import inspect
import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import Any

import typer

from mdaf.terminal import programs

# Script, what it is for, and where its parser is: an attribute that makes an argparse parser, or a typer app.
PROGRAMS = {
    "mdaf": (
        "One run; with `-m` a grid, a sweep or a race. `python -m sweeper`. `mdaf` alone lists what can be typed.",
        "hydra_internals:command_line_parser",
    ),
    "mdaf runs": ("Lists runs and sweeps. [More](../how-to/runs-and-disk.md)", "sweeper.run_folders.cli:_list_parser"),
    "mdaf runs clean": ("Removes runs that nothing refers to.", "sweeper.run_folders.cli:_clean_parser"),
    "mdaf doctor": ("Checks an installation. [More](../how-to/doctor.md)", "sweeper.doctor.cli:_parser"),
    "mdaf completion": (
        "Installs tab completion. [More](../how-to/tab-completion.md)",
        "sweeper.completion.cli:_parser",
    ),
    "mdaf-study": ("Asks a study what was tried and what won. `python -m sweeper.study`.", "sweeper.study.cli:app"),
    "mdaf-phase4": (
        "From a study to a verdict. `python -m multirun`. Its [keys](config.md#mdaf-phase4) are typed as `key=value`. "
        "These words come first instead:",
        "multirun.commands:app",
    ),
    "mdaf-data": ("Prepares and shows data. `python -m data`.", "data.__main__:_parser"),
    "mdaf-predict": ("Scores rows with a trained model. `python -m sweeper.predict`.", "sweeper.predict.cli:_parser"),
    "mdaf-evaluate": ("Measures a run on any split. `python -m sweeper.evaluate`.", "sweeper.evaluate:_parser"),
    "mdaf-export": (
        "Writes a trained model for other programs. `python -m sweeper.export`.",
        "sweeper.export.cli:_parser",
    ),
}
# Where Hydra's own text is long.
OURS = {
    "version": "prints the version",
    "hydra_help": "prints Hydra's own help",
    "shell_completion": "Hydra's own tab completion; `mdaf completion` has one for all commands",
}
HEAD = """\
# Commands

<!-- Written by `make reference` from the programs; change their help texts, not this page. -->

Every command, with its options. `mdaf-study best --help` prints those of one command.

```
mdaf --help
mdaf-study --help
```

Words such as `training.epochs=3` are [config keys](config.md).

## Exit codes

| code | meaning |
|---|---|
| 0 | done |
| 1 | the run failed: the loss is not finite, or memory ran out |
| 2 | a mistake in what was typed or read, told in one line; or a sweep that ended because trials failed |
| 75 | interrupted or stopped, and saved: the same command with `resume=auto` goes on |
| 76 | hung: the run's folder has the stacks in `hang.txt` |
| 130 | stopped at once, by a second Ctrl-C |
"""


@contextmanager
def named(program: str) -> Iterator[None]:
    """The program's name as help texts show it in an environment that is activated, whatever program runs."""
    before, path = sys.argv, os.environ["PATH"]
    sys.argv = [program.split()[0]]
    os.environ["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), path])
    try:
        yield
    finally:
        sys.argv, os.environ["PATH"] = before, path


@cache
def page() -> str:
    """The page as the parsers have it now."""
    parts = [HEAD]
    for program, (purpose, where) in PROGRAMS.items():
        parts.append(f"\n## {program}\n\n{purpose}\n")
        if where:
            module, _, attribute = where.partition(":")
            with named(program):
                parser = getattr(import_module(f"mdaf.{module}"), attribute)
                parts += _typer(program, parser) if isinstance(parser, typer.Typer) else _argparse(program, parser())
    return "".join(parts)


def _typer(program: str, app: typer.Typer) -> Iterator[str]:
    group: Any = typer.main.get_command(app)
    for name, command in group.commands.items():
        if command.hidden:
            continue
        yield f"\n### {program} {name}\n\n{_escaped(_text(command.help))}\n"
        arguments = [one for one in command.params if one.param_type_name == "argument"]
        rows = [(f"`{one.metavar or one.name.upper()}`", getattr(one, "help", None), None) for one in arguments]
        for one in command.params:
            if one.param_type_name == "option" and not one.hidden:
                metavar = "" if one.is_flag else f" {one.metavar or one.name.upper()}"
                default = getattr(one.default, "value", one.default)
                rows.append((f"`{', '.join(one.opts)}{metavar}`", one.help, None if one.is_flag else default))
        yield from _table(rows)


def _argparse(program: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    rows, commands = [], {}
    for action in parser._actions:
        if action.help == argparse.SUPPRESS or "--help" in action.option_strings:
            continue
        if isinstance(action, argparse._SubParsersAction):
            commands = action.choices
        else:
            rows.append(_row(action, parser.prog))
    if parser.description and program != "mdaf":
        yield f"\n{_escaped(_text(parser.description))}\n"
    yield from _table(rows)
    if program == "mdaf":
        yield "\nThese first words are commands of their own; what follows is for them:\n"
        yield "\n| command | what it does | needs |\n|---|---|---|\n"
        for word, one in programs.WORDS.items():
            yield f"| `mdaf {word}` | {one.task} | {f'`[{one.extra}]`' if one.extra else ''} |\n"
    for name, command in commands.items():
        yield f"\n### {program} {name}\n"
        command.epilog = None  # the same for all of them
        yield from _argparse(f"{program} {name}", command)
    if parser.epilog and "--help:" not in parser.epilog:  # what it would name has a section of its own
        yield f"\n```text\n{inspect.cleandoc(parser.epilog)}\n```\n"


def _row(action: argparse.Action, program: str) -> tuple[str, str, Any]:
    """Name, meaning and default of an option or of a word."""
    metavar = str(action.metavar or ("|".join(map(str, action.choices)) if action.choices else action.dest.upper()))
    takes = action.nargs != 0
    name = ", ".join(action.option_strings) + f" {metavar}" * takes if action.option_strings else metavar
    text = OURS.get(action.dest) or str(action.help or "") % {"default": action.default, "prog": program}
    known = not action.option_strings or not takes or "default" in text or action.default == argparse.SUPPRESS
    return f"`{name}`", text, None if known else action.default


def _table(rows: Iterable[tuple[str, str | None, Any]]) -> Iterator[str]:
    rows = list(rows)
    if rows:
        yield "\n| option | meaning | default |\n|---|---|---|\n"
    for name, text, default in rows:
        shown = "" if default in (None, False, (), []) else f"`{default}`"
        yield f"| {name.replace('|', chr(92) + '|')} | {_cell(text or '')} | {shown} |\n"


def _text(text: str | None) -> str:
    """A help text with a capital letter and a full stop, its paragraphs kept."""
    clean = "\n\n".join(" ".join(part.split()) for part in re.split(r"\n\s*\n", inspect.cleandoc(text or "")))
    if not clean:
        return ""
    return clean[0].upper() + clean[1:] + ("" if clean.endswith((".", ":", "?")) else ".")


def _escaped(text: str) -> str:
    return re.sub(r"([<>*_\[\]])", r"\\\1", text)


def _cell(text: str) -> str:
    return _escaped(" ".join(text.split())).replace("|", "\\|")
