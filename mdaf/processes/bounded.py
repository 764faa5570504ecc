"""Bounds how long a call may take that waits for others and cannot be ended, such as that of a library or a server."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


class HangingError(TimeoutError):
    """A call has not ended in its time."""


def within(seconds: float, action: Callable[[], T]) -> T:
    """What ``action`` returns or raises; HangingError where it has not ended after so many seconds.

    It runs in a thread of its own. One that has not ended is left behind, and keeps no process from ending.
    """
    found: Future[T] = Future()

    def run() -> None:
        try:
            found.set_result(action())
        except BaseException as error:
            found.set_exception(error)

    thread = threading.Thread(target=run, name="bounded call", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise HangingError(f"no answer within {seconds:g} s")
    return found.result()
