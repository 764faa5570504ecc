"""Leaving a loop between two steps: because a signal asks for it, or because the watch does."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

EXIT_RESUMABLE = 75  # EX_TEMPFAIL: the state is saved, and the same command with resume=auto goes on
EXIT_HUNG = 76  # no step came to its end: the last state is that of the last save, and resume=auto goes on from there
SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Leaving(BaseException):
    """Raised between two steps, so that the loop can save where it stands."""


class Interrupted(Leaving, KeyboardInterrupt):
    """SIGTERM or SIGINT. Like Ctrl-C it passes through what catches errors, up to who started the process."""


class Interruption:
    """While the context lasts the first SIGTERM or SIGINT asks the loop to leave; a second one ends it at once.

    Outside the main thread, where Python takes no signals, it hears of none.
    """

    def __init__(self) -> None:
        self.asked: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            _open.append(self)
            self._before = {number: signal.signal(number, self._ask) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self in _open:
            _open.remove(self)

    def check(self) -> None:
        """Raises Interrupted if a signal came."""
        if self.asked is not None:
            raise Interrupted(f"by {self.asked.name}")

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked is not None:
            raise KeyboardInterrupt
        self.asked = signal.Signals(number)


_open: list[Interruption] = []  # of the main thread


def asked() -> bool:
    """Whether a signal asked a loop of the main thread to leave."""
    return any(interruption.asked is not None for interruption in _open)


def check() -> None:
    """Raises Interrupted if a signal asked a loop of the main thread to leave: for what waits within a step."""
    if threading.current_thread() is threading.main_thread():
        for interruption in _open:
            interruption.check()
