"""The parser of commands that take options rather than overrides: a mistake is one line."""

from __future__ import annotations

import argparse
import re
from typing import Any, NoReturn

from mdaf.errors import did_you_mean
from mdaf.terminal.programs import version_line


class Parser(argparse.ArgumentParser):
    """Reports a mistake in one line on stderr, without the usage, and ends with exit code 2."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.add_argument("--version", action="version", version=version_line(), help="print the version and exit")

    def error(self, message: str) -> NoReturn:
        """See ``argparse.ArgumentParser``."""
        self.exit(2, f"error: {message}{self._meant(message) or f'; {self.prog} --help'}\n")

    def _meant(self, message: str) -> str:
        if flag := re.match(r"unrecognized arguments: (-\S+)", message):
            return did_you_mean(flag[1].partition("=")[0], self._flags())
        if choice := re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message):
            return did_you_mean(choice[1], re.findall(r"[\w-]+", choice[2]))
        return ""

    def _flags(self) -> list[str]:
        """The long options of this parser and of its subcommands."""
        parsers: list[argparse.ArgumentParser] = [self]
        for action in self._actions:
            if isinstance(action.choices, dict):  # its subcommands
                parsers += action.choices.values()
        flags = [flag for parser in parsers for action in parser._actions for flag in action.option_strings]
        return sorted({flag for flag in flags if flag.startswith("--")})
