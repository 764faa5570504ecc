"""Sections of a report on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from mdaf.multirun.report.blocks import Items, Section, Table, Text
from mdaf.terminal import tables
from mdaf.terminal.printable import printable


def print_sections(sections: Sequence[Section], console: Console | None = None) -> None:
    """Prints sections without their charts, on standard output unless a console is given."""
    console = console or tables.console()
    for section in sections:
        _print(section, console)


def _print(section: Section, console: Console) -> None:
    console.print(f"\n{printable(section.title)}", style="bold")
    for block in section.blocks:
        if isinstance(block, Text):
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
    title = block.caption or None
    while columns:
        table, dropped = tables.fitted(columns, console.width, framed=True, title=title)
        console.print(table)
        left = [column for column in columns[1:] if column.heading in dropped]
        columns = [columns[0], *left] if left and len(left) + 1 < len(columns) else left
        title = None
