"""The command ``mdaf completion``: prints what makes a shell's Tab key complete the commands of this program."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from mdaf.messages.reporting import reported_in_one_line
from mdaf.sweeper.completion.scripts import HOW, SHELLS, script
from mdaf.terminal.parser import Parser
from mdaf.terminal.programs import command

QUERY = "query"  # asked by the shell


def _parser() -> argparse.ArgumentParser:
    lines = "\n".join(f"  {shell:5} {line}" for shell, line in HOW.items())
    parser = Parser(
        prog=f"{command('sweeper')} completion",
        description="Prints what makes the Tab key complete commands, groups, keys, options and studies.",
        epilog=f"To install it, type once, then open a new shell:\n{lines}\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", choices=tuple(SHELLS), metavar="bash|zsh|fish")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a shell's script; ``query LINE`` prints what may stand at the end of a line, one a line."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == [QUERY]:
        from mdaf.sweeper.completion.candidates import candidates

        for one in candidates(words[1] if words[1:] else ""):
            print(one)  # nothing at all where nothing fits: then the shell completes names of files
        return
    with reported_in_one_line():
        sys.stdout.write(script(_parser().parse_args(words).shell))


if __name__ == "__main__":
    main()
