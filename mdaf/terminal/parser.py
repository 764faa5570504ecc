"""The parser of commands that take options rather than overrides: a mistake is one line."""

from __future__ import annotations

import argparse
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """Reports a mistake in one line on stderr, without the usage, and ends with exit code 2."""

    def error(self, message: str) -> NoReturn:
        """See ``argparse.ArgumentParser``."""
        self.exit(2, f"error: {message}; {self.prog} --help\n")
