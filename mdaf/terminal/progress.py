"""Progress of long work, such as preparing a log. Without a terminal nothing is drawn."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import RenderableType
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.text import Text

from mdaf.terminal import screen

SHOW_AFTER_SECONDS = 5.0  # shorter work shows nothing


class Progress(Protocol):
    """A function that is called with the current step's name, and the share of the work that is done, in [0, 1]."""

    def __call__(self, step: str, share: float) -> None: ...


def silent(step: str, share: float) -> None:
    """A ``Progress`` that shows nothing."""


def between(progress: Progress, low: float, high: float) -> Progress:
    """A ``Progress`` for a part of the work: its shares from 0 to 1 are reported as ``low`` to ``high``."""

    def inner(step: str, share: float) -> None:
        progress(step, low + (high - low) * share)

    return inner


@contextmanager
def shown(show_after: float = SHOW_AFTER_SECONDS, clock: Callable[[], float] = time.monotonic) -> Iterator[Progress]:
    """A ``Progress`` that draws a bar. It appears after ``show_after`` seconds, and is gone at the end."""
    columns = (TextColumn("{task.description}"), BarColumn(20), TaskProgressColumn(), TimeElapsedColumn())
    bar = Bar(*columns, get_time=clock)
    task = bar.add_task("starting", total=1.0)
    with _after(show_after, clock, bar.get_renderable):

        def progress(step: str, share: float) -> None:
            bar.update(task, description=step, completed=share)

        yield progress


@contextmanager
def working(
    text: str,
    show_after: float = SHOW_AFTER_SECONDS,
    clock: Callable[[], float] = time.monotonic,
    *,
    before: float = 0.0,
) -> Iterator[None]:
    """Shows ``text`` and the seconds so far while work goes on whose length nobody knows.

    It appears after ``show_after`` seconds, and is gone at the end. ``before`` are seconds of the same work that were
    spent already.
    """
    begun = clock() - before
    with _after(show_after - before, clock, lambda: Text(f"{text}, {clock() - begun:.0f} s")):
        yield


@contextmanager
def _after(seconds: float, clock: Callable[[], float], part: screen.Part) -> Iterator[None]:
    """Draws a part if the context lasts longer than so many seconds."""
    begun = clock()

    def drawn() -> RenderableType | None:
        return part() if clock() - begun >= seconds else None

    with screen.shown(drawn):
        yield
