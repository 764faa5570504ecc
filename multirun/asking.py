"""The question whether to start, after the plan was shown."""

from __future__ import annotations

import sys

from mdaf.errors import UserError


def ask_to_start() -> None:
    """Asks on the terminal. SystemExit where the answer is no, UserError where there is no terminal."""
    if not sys.stdin.isatty():
        raise UserError("nobody can be asked whether to start, since there is no terminal; start with --yes")
    try:
        answer = input("Start? [y/N] ")
    except EOFError:  # Ctrl-D
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        print("nothing was started")
        raise SystemExit(1)
