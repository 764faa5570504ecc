"""Signals that ask a process to leave: Ctrl-C, kill, a closed connection, what batch systems send before they kill.

The first one raises ``Interrupted`` in the main thread, wherever it is, so that temporary folders go and studies are
told. Where work must come to a point at which it can be saved, ``deferred`` holds that back, and the work asks
``check`` between its steps. Impatience does not wait for either: the same signal again, or Ctrl-C after any.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

EXIT_RESUMABLE = 75  # EX_TEMPFAIL: what is done is kept, and the same command goes on
EXIT_AT_ONCE = 130  # as a shell says of a process that Ctrl-C ended

# Whoever ends a process with these means it, whatever its dispositions were.
_ALWAYS = (signal.SIGTERM, signal.SIGINT)
# These are taken only where they would end the process unasked. So nohup keeps SIGHUP ignored, and submitit keeps the
# signal by which it queues a job again.
_BY_DEFAULT = ("SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGXCPU")


class Interrupted(KeyboardInterrupt):
    """A signal asks this process to leave. Like Ctrl-C it passes through what catches errors."""


@dataclass
class _Heard:
    """What this process knows of its signals."""

    listens: int = 0  # nested contexts of ``listening``
    deferred: int = 0
    asked: signal.Signals | None = None  # the first one that came
    reason: str = ""  # the same in words
    raised: bool = False  # whether it was raised, not only noted
    hung_up: bool = False  # the next SIGTERM is this process's own
    once: bool = False  # a second one is not listened to


_heard = _Heard()


@contextmanager
def listening() -> Iterator[None]:
    """While it lasts this process listens. Outside the main thread, which alone hears signals, it does nothing.

    ``Interrupted`` may come where a library has something half done, and the error that the library then makes takes
    its place. Such an error is turned back into ``Interrupted`` here.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[signal.Signals, Any] = {}
    if not _heard.listens:
        _heard.asked, _heard.raised = None, False
        taken = [getattr(signal, name) for name in _BY_DEFAULT if hasattr(signal, name)]
        taken = [*_ALWAYS, *(number for number in taken if signal.getsignal(number) is signal.SIG_DFL)]
        before = {number: signal.signal(number, _hear) for number in taken}
    _heard.listens += 1
    try:
        yield
    except Exception as error:
        if not _heard.raised:
            raise
        raise Interrupted(_heard.reason) from error
    finally:
        _heard.listens -= 1
        for number, handler in before.items():
            signal.signal(number, handler)
        if not _heard.listens:
            _heard.asked, _heard.raised = None, False


@contextmanager
def deferred() -> Iterator[None]:
    """While it lasts nothing is raised: ``check`` says whether to leave."""
    _heard.deferred += 1
    try:
        yield
    finally:
        _heard.deferred -= 1


def asked() -> str | None:
    """What asked this process to leave, such as "by SIGTERM"; None if nothing did.

    What was raised then may have been swallowed, as Python does where it calls a finalizer.
    """
    return None if _heard.asked is None else _heard.reason


def is_deferred() -> bool:
    """Whether somebody in this process brings work to a point at which it can be saved."""
    return _heard.deferred > 0


def hang_up(*, once: bool = False) -> None:
    """Asks this very process to leave, from any of its threads; never counts as impatience.

    ``once``: whoever asked does not do so again, so what comes after is not listened to.
    """
    _heard.once |= once
    _heard.hung_up = True
    os.kill(os.getpid(), signal.SIGTERM)


def leave_once() -> None:
    """From now on a second signal is not listened to: what this process does after the first must not be cut short."""
    _heard.once = True


def _hear(number: int, frame: FrameType | None) -> None:
    hung_up, _heard.hung_up = _heard.hung_up, False
    if _heard.asked is not None:
        quiet = hung_up or _heard.once or number == getattr(signal, "SIGHUP", None)
        if not quiet and number in (_heard.asked, signal.SIGINT):
            raise KeyboardInterrupt
        return
    _heard.asked = signal.Signals(number)
    _heard.reason = "by the end of the process that started it" if hung_up else f"by {_heard.asked.name}"
    if not _heard.deferred:
        _heard.raised = True
        raise Interrupted(_heard.reason)
