"""Sections of a report on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from mdaf.multirun.report.rendering.blocks import Block, Fold, Items, Section, Table, Text, Verdict
from mdaf.terminal import tables
from mdaf.terminal.printable import printable


def print_sections(sections: Sequence[Section], console: Console | None = None) -> None:
    """Prints sections without their charts, on standard output unless a console is given."""
    console = console or tables.console()
    for section in sections:
        _print(section, console)


def _print(section: Section, console: Console) -> None:
    console.print(f"\n{printable(section.title)}", style="bold")
    _print_blocks(section.blocks, console)


def _print_blocks(blocks: Sequence[Block], console: Console) -> None:
    for block in blocks:
        if isinstance(block, Verdict):
            console.print(printable(block.lead), style="bold")
            for sentence in (*block.caveats, block.why, block.deploy):
                if sentence:
                    console.print(printable(sentence))
            if block.command:
                console.print(f"  {printable(block.command)}", soft_wrap=True, highlight=False)
        elif isinstance(block, Fold):
            console.print(f"\n{printable(block.title)}", style="bold")
            _print_blocks(block.blocks, console)
        elif isinstance(block, Text):
            console.print(printable(block.text))
        elif isinstance(block, Items):
            for item in block.items:
                console.print(f"- {printable(item)}")
        elif isinstance(block, Table):
            _print_table(block, console)


def _print_table(block: Table, console: Console) -> None:
    """Prints a table; the columns that do not fit follow below, in further tables that begin with the first column."""
    columns = [
        tables.Column(heading, [row[number] for row in block.rows], rank=number)
        for number, heading in enumerate(block.header)
    ]
    for table in tables.stacked(columns, console.width, framed=True, title=block.caption or None):
        console.print(table)
