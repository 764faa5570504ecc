"""The command ``mdaf doctor``: prints what is installed, what is missing for what, and the line to type."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence

from mdaf.messages.reporting import reported_in_one_line
from mdaf.sweeper.doctor.findings import Finding, findings
from mdaf.terminal import output
from mdaf.terminal.parser import Parser
from mdaf.terminal.printable import in_a_line
from mdaf.terminal.programs import command
from mdaf.terminal.wrapping import for_terminal

_MARKS = {"ok": " ", "note": "-", "wrong": "!"}


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog=f"{command('sweeper')} doctor",
        description="Says what is installed here, which devices and kernels there are, whether runs and studies can be "
        "written, and what is missing for what. Changes nothing. Exit code 1: the usual does not work.",
    )
    parser.add_argument("--format", choices=("text", "json"), default="text", help="default: %(default)s")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the findings; returns 1 if one of them is wrong, else 0."""
    output.make_safe()
    with reported_in_one_line():
        options = _parser().parse_args(arguments)
        found = list(findings())
        if options.format == "json":
            print(json.dumps([dataclasses.asdict(one) for one in found], indent=2))
        else:
            _show(found)
    return 1 if any(one.mark == "wrong" for one in found) else 0


def _show(found: Sequence[Finding]) -> None:
    section = ""
    width = max(len(one.name) for one in found)
    for one in found:
        if one.section != section:
            print(f"{'' if not section else chr(10)}{one.section}")
            section = one.section
        line = f" {_MARKS[one.mark]} {one.name:{width}}  {in_a_line(one.value)}"
        print(for_terminal(line, sys.stdout, indent=width + 5))
        if one.to_type:
            print(f"   {'':{width}}  type: {one.to_type}")
    wrong = sum(one.mark == "wrong" for one in found)
    print(f"\n{f'{wrong} of these must be mended' if wrong else 'the usual works'}")


if __name__ == "__main__":
    sys.exit(main())
