"""Progress bars for long work, such as preparing a log. Without a terminal nothing is drawn."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

SHOW_AFTER_SECONDS = 5.0  # shorter work shows no bar


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
def shown(
    console: Console | None = None,
    show_after: float = SHOW_AFTER_SECONDS,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Progress]:
    """A ``Progress`` that draws a bar on ``console``, by default standard error, if that is a terminal.

    The bar appears after ``show_after`` seconds and is erased at the end of the context.
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
