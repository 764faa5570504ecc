"""A progress line on the terminal while an epoch trains; nothing if standard error is not a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from torch import Tensor

from mdaf.terminal import screen

REFRESH_SECONDS = 0.25


class EpochProgress:
    """Shows the loss, samples per second and the remaining time of the current epoch.

    It reads the loss from the device a few times per second at most, because reading waits for the device.
    """

    def __init__(self, epochs: int, batch_size: int) -> None:
        self._shown = screen.can_draw()
        self._epochs = epochs
        self._batch_size = batch_size
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._remove: Callable[[], None] = lambda: None
        self._first = 0  # the step after which the line appeared
        self._begun = self._refreshed = 0.0

    def step(self, epoch: int, step: int, steps: int, loss: Tensor) -> None:
        """Called after training step ``step`` of ``steps``. The first call may be for any step of a resumed run."""
        if not self._shown:
            return
        now = time.monotonic()
        if self._bar is None:
            self._start(epoch, step, steps, now)
        if now - self._refreshed < REFRESH_SECONDS and step < steps:
            return
        self._refreshed = now
        assert self._bar is not None
        text = f"loss {float(loss):.4f}"
        if step > self._first and now > self._begun:  # the rate counts the steps since the line appeared
            text += f"  {(step - self._first) * self._batch_size / (now - self._begun):,.0f} samples/s"
        if step == steps:
            text += "  evaluating"
        self._bar.update(self._task, completed=step, status=text)

    def hide(self) -> None:
        """Shows nothing from now on: one line is enough for replicas in lock-step."""
        self._shown = False

    def close(self) -> None:
        """Removes the line."""
        self._remove()
        self._bar = None

    def _start(self, epoch: int, step: int, steps: int, now: float) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(15), TextColumn("{task.completed}/{task.total}"))
        self._bar = Progress(*columns, TextColumn("{task.fields[status]}"), TimeRemainingColumn())
        self._task = self._bar.add_task(f"epoch {epoch}/{self._epochs}", total=steps, completed=step, status="")
        self._remove = screen.add(self._bar.get_renderable)
        self._first, self._begun = step, now
