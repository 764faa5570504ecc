"""Tables can be read at any width."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from mdaf.terminal.tables import UNLIMITED, Column, fitted, stacked

NAME = "regularization-mdaf_mamba-user_behavior"
COLUMNS = [
    Column("study", [NAME, "b"], rank=0),
    Column("value", ["0.58213", "0.57"], right=True, rank=1),
    Column("error", ["RuntimeError: the disk is gone and nothing can be written any more", ""], rank=3),
    Column("run_dir", [f"runs/studies/{NAME}/10", ""], rank=4),
    Column("seconds", ["12.5", "1234.5"], right=True, rank=2),
]


def drawn(width: int, framed: bool) -> tuple[list[str], list[str]]:
    """The lines of the table at a width, and what was left out."""
    table, dropped = fitted(COLUMNS, width, framed=framed, title="A table", lines=[1])
    out = io.StringIO()
    Console(file=out, width=width).print(table)
    return out.getvalue().splitlines(), dropped


@pytest.mark.parametrize("framed", [False, True])
@pytest.mark.parametrize("width", [60, 80, 100, 120, 200, UNLIMITED])
def test_no_word_is_broken_and_no_line_is_too_long_at_any_width(width: int, framed: bool) -> None:
    lines, dropped = drawn(width, framed)
    assert all(len(line) <= width for line in lines)
    text = " ".join("\n".join(lines).replace("│", " ").split())
    shown = [column for column in COLUMNS if column.heading not in dropped]
    for column in shown:
        assert column.heading in text
        for word in " ".join(column.cells).split():
            assert word in text
    assert "…" not in text


@pytest.mark.parametrize("framed", [False, True])
def test_the_least_important_columns_are_left_out_first_and_named(framed: bool) -> None:
    assert drawn(66, framed)[1] == ["error", "run_dir"]
    assert drawn(100, framed)[1] == ["run_dir"]
    assert drawn(UNLIMITED, framed)[1] == []


def test_a_column_that_fits_is_not_left_out_for_a_more_important_one_that_does_not() -> None:
    wide = Column("b", ["x" * 90], rank=1)
    table, dropped = fitted([Column("a", ["1"], rank=0), wide, Column("c", ["2"], rank=2)], 60, framed=True)
    assert dropped == ["b"]
    assert len(table.columns) == 2


@pytest.mark.parametrize("width", [60, 80, UNLIMITED])
def test_a_report_shows_all_columns_below_each_other_and_names_the_rows_each_time(width: int) -> None:
    shown = [[str(column.header) for column in table.columns] for table in stacked(COLUMNS, width, framed=True)]
    assert {heading for headings in shown for heading in headings} == {column.heading for column in COLUMNS}
    assert (len(shown) == 1) == (width == UNLIMITED)
    assert all(headings[0] == "study" for headings in shown if len(headings) > 1)


def test_what_alone_is_wider_than_the_terminal_is_folded() -> None:
    table, dropped = fitted([Column("a", ["x" * 90])], 60, framed=True)
    out = io.StringIO()
    Console(file=out, width=60).print(table)
    assert dropped == []
    assert out.getvalue().count("x") == 90
