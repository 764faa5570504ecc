"""Tells how far a long piece of work is: a line on the terminal, nothing where nobody looks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

SHOW_AFTER_SECONDS = 5.0  # what is over sooner needs no bar


class Progress(Protocol):
    """Told what is being done and the share that is done of the whole, in [0, 1]."""

    def __call__(self, step: str, share: float) -> None: ...


def silent(step: str, share: float) -> None:
    """A ``Progress`` for those who do not watch."""


def between(progress: Progress, low: float, high: float) -> Progress:
    """A ``Progress`` for a part of the work, whose own shares 0 and 1 are ``low`` and ``high`` of the whole."""

    def inner(step: str, share: float) -> None:
        progress(step, low + (high - low) * share)

    return inner


@contextmanager
def shown(
    console: Console | None = None,
    show_after: float = SHOW_AFTER_SECONDS,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Progress]:
    """A ``Progress`` that draws a bar on ``console`` (standard error by default) if that is a terminal.

    The bar appears once ``show_after`` seconds have passed, and is gone afterwards.
    """
    console = console or Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    bar = Bar(*columns, console=console, transient=True, disable=not console.is_terminal)
    task = bar.add_task("starting", total=1.0)
    begun = clock()

    def progress(step: str, share: float) -> None:
        bar.update(task, description=step, completed=share)
        if not bar.live.is_started and clock() - begun >= show_after:
            bar.start()

    try:
        yield progress
    finally:
        bar.stop()
