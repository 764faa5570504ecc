"""Lays out every table that is printed, so that it is readable at any width of the terminal.

No word is broken and no number is cut. In a list, columns that do not fit are left out, the least important ones first,
and their names are printed. In a report they follow below. In a pipe or a file a table has all its columns.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import IO

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from mdaf.terminal.printable import in_a_line, printable

UNLIMITED = 100_000  # characters
GAP = 3  # characters between the texts of two columns
SENTENCE = 24  # characters: a longer text is wrapped to lines of at least this width


def console(file: IO[str] | None = None) -> Console:
    """A console for ``file``, by default standard output: as wide as the terminal, without one of unlimited width."""
    terminal = (file or sys.stdout).isatty()
    return Console(
        file=file,
        width=None if terminal else UNLIMITED,
        force_terminal=terminal,  # also with FORCE_COLOR, since a script reads plain text
        color_system="auto" if terminal else None,
        markup=False,
        emoji=False,
        highlight=False,
    )


@dataclass(frozen=True)
class Column:
    """A column of a table, as text.

    ``right``  whether cells are aligned to the right and never wrapped, as numbers are.
    ``rank``   how important the column is; 0 is the most important.
    """

    heading: str
    cells: Sequence[str]
    right: bool = False
    rank: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "heading", in_a_line(self.heading))
        object.__setattr__(self, "cells", [printable(cell) for cell in self.cells])

    @property
    def natural(self) -> int:
        """The width in characters at which nothing is wrapped."""
        return max(map(len, (self.heading, *self.cells)))

    @property
    def least(self) -> int:
        """The smallest width in characters at which the column is readable."""
        if self.right or self.natural <= SENTENCE:
            return self.natural
        words = [word for cell in self.cells for word in cell.split()]
        return max(SENTENCE, len(self.heading), *map(len, words))


def fitted(
    columns: Sequence[Column], width: int, *, framed: bool, title: str | None = None, lines: Collection[int] = ()
) -> tuple[Table, list[str]]:
    """A table of the columns that fit into ``width`` characters, and the headings of the columns that do not fit.

    ``framed``  whether to draw a frame.
    ``lines``   the indices of rows above which a line is drawn.
    """
    left = width - (1 if framed else -1)  # without the frame's edge, or with the unused gap after the last column
    kept: list[Column] = []
    for column in sorted(columns, key=lambda one: one.rank):
        if column.least + GAP <= left or not kept:
            kept.append(column)
            left -= column.least + GAP
    shown = [column for column in columns if column in kept]
    table = Table(
        title=None if title is None else Text(in_a_line(title)),
        title_justify="left",
        box=box.HEAVY_HEAD if framed else (box.SIMPLE_HEAD if width < UNLIMITED else None),
        pad_edge=framed,
        padding=(0, 1) if framed else (0, 2, 0, 0),
    )
    slack = left
    for column in shown:
        more = max(min(slack, column.natural - column.least), 0)
        slack -= more
        size = column.least + more + (min(left, 0) if len(kept) == 1 else 0)
        table.add_column(Text(column.heading), justify="right" if column.right else "left", width=size, overflow="fold")
    for number in range(max((len(column.cells) for column in columns), default=0)):
        if number in lines:
            table.add_section()
        table.add_row(*(Text(column.cells[number]) for column in shown))
    return table, [column.heading for column in columns if column not in kept]


def stacked(
    columns: Sequence[Column], width: int, *, framed: bool, title: str | None = None, lines: Collection[int] = ()
) -> Iterator[Table]:
    """Tables that show all the columns below each other; each begins with the first column, which names the rows."""
    rest = list(columns)
    while rest:
        table, dropped = fitted(rest, width, framed=framed, title=title, lines=lines)
        yield table
        left = [column for column in rest[1:] if column.heading in dropped]
        rest = [rest[0], *left] if len(left) + 1 < len(rest) else left
        rest, title = (rest if left else []), None


def print_below(columns: Sequence[Column], console: Console, plain: Collection[str] = ()) -> None:
    """The cells of the first column, each in a line of its own, and below it what the other columns have for it.

    ``plain``  headings that are not written before their cells. Empty cells are left out.
    """
    first, *others = columns
    for number, name in enumerate(first.cells):
        console.print(Text(name), soft_wrap=True)
        known = [
            cell if column.heading in plain else f"{column.heading}: {cell}"
            for column in others
            if (cell := column.cells[number])
        ]
        console.print(Padding(Text(", ".join(known)), (0, 0, 0, 4)))


def left_out(headings: Sequence[str], instead: str) -> str:
    """The line that names the columns that did not fit; ``instead`` says how to see them."""
    return f"not shown, since the terminal is narrow: {', '.join(headings)}; {instead}"
