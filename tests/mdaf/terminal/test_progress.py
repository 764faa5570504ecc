from __future__ import annotations

import io

from rich.console import Console

from mdaf.terminal.progress import between, shown


def drawn(terminal: bool, seconds: float) -> str:
    """What a console shows of work that is reported at its start and after some seconds."""
    console = Console(file=io.StringIO(), force_terminal=terminal, width=80)
    times = iter([0.0, seconds, seconds])
    with shown(console, show_after=5.0, clock=lambda: next(times)) as progress:
        progress("sorting events", 0.25)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_bar_is_drawn_for_what_takes_long_on_a_terminal() -> None:
    assert "sorting events" in drawn(terminal=True, seconds=5.0)
    assert "25%" in drawn(terminal=True, seconds=5.0)


def test_nothing_is_drawn_for_what_is_soon_over_or_where_nobody_looks() -> None:
    assert "sorting" not in drawn(terminal=True, seconds=4.9)
    assert drawn(terminal=False, seconds=60.0) == ""


def test_a_part_of_the_work_is_told_as_its_share_of_the_whole() -> None:
    told: list[float] = []
    part = between(lambda step, share: told.append(share), 0.25, 0.75)
    for share in (0.0, 0.5, 1.0):
        part("reading", share)
    assert told == [0.25, 0.5, 0.75]
