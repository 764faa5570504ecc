"""Mistakes in what was typed after ``mdaf-study`` or after a command of ``mdaf-phase4``: one line and exit code 2."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Sequence
from typing import Any

import typer

from mdaf.sweeper.study.commands.output import note

_UsageError: Any = typer.BadParameter.__mro__[1]  # click's, of which typer gives only this subclass a public name


class OneLineGroup(typer.core.TyperGroup):
    """Says in one line what is wrong and where help is; click says it in four."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        called = functools.partial(super().main, args, prog_name, complete_var, False, windows_expand_args, **extra)
        if not standalone_mode:
            return called()
        try:
            sys.exit(called())
        except typer.Abort:
            sys.exit("Aborted!")
        except _UsageError as error:
            message = error.format_message()
            is_help = "\n" in message  # nothing was typed
            command = error.ctx.command_path if error.ctx is not None else prog_name
            if is_help:
                typer.echo(message, err=True)
            else:
                note(_line(_of_a_name(error, message, command) or message, command))
            sys.exit(2)


def _of_a_name(error: Any, message: str, command: str | None) -> str | None:
    """What is said of words that nothing takes, where the command has an option for the name of a study."""
    words = re.match(r"Got unexpected extra arguments? ?\(?s?\)? ?\((.*)\)", message)
    options = {} if error.ctx is None else {flag for option in error.ctx.command.params for flag in option.opts}
    if words is None or "--study" not in options:
        return None
    return f"found {words[1]}, which nothing takes; to name a study, type {command} --study {words[1].split()[0]}"


def _line(message: str, command: str | None) -> str:
    end = "" if message.endswith((".", "?")) else "."
    return f"{command}: {message}{end} {command} --help lists what can be typed."
