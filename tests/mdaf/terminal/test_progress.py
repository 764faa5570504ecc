from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from mdaf.terminal import screen
from mdaf.terminal.progress import between, shown, working
from tests.terminals import on_a_terminal


def drawn(begin: Callable[..., AbstractContextManager[object]], seconds: float) -> str:
    """What a terminal shows of work after some seconds."""
    now = [0.0]

    def work() -> None:
        with begin(clock=lambda: now[0]) as progress:
            if callable(progress):
                progress("sorting events", 0.25)
            now[0] = seconds
            screen.add(lambda: None)()  # everything is drawn again

    return on_a_terminal(work)


def test_a_bar_is_drawn_for_what_takes_long_on_a_terminal() -> None:
    shows = drawn(shown, seconds=5.0)
    assert "sorting events" in shows
    assert "25%" in shows


def test_work_of_unknown_length_shows_its_seconds() -> None:
    assert "compiling 46 kernels, 12 s" in drawn(lambda clock: working("compiling 46 kernels", clock=clock), 12.0)


def test_nothing_is_drawn_for_what_is_soon_over() -> None:
    assert "sorting" not in drawn(shown, seconds=4.9)


def test_nothing_is_drawn_where_nobody_looks(capfd: pytest.CaptureFixture[str]) -> None:
    with working("hashing", show_after=0.0):
        pass
    assert capfd.readouterr().err == ""


def test_a_part_of_the_work_is_told_as_its_share_of_the_whole() -> None:
    told: list[float] = []
    part = between(lambda step, share: told.append(share), 0.25, 0.75)
    for share in (0.0, 0.5, 1.0):
        part("reading", share)
    assert told == [0.25, 0.5, 0.75]
