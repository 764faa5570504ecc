"""Signals that ask a process to leave: Ctrl-C, kill, a closed connection, the warning of a batch system.

The first signal raises ``Interrupted`` in the main thread, so that temporary folders are removed and trials are told to
their study. Work that must reach a point where it can be saved runs within ``deferred`` and calls ``asked`` between its
steps. The same signal again, or Ctrl-C after any signal, raises KeyboardInterrupt at once.
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

EXIT_RESUMABLE = 75  # EX_TEMPFAIL: the state is saved, and the same command goes on
EXIT_AT_ONCE = 130  # the code that shells give a process that Ctrl-C ended

# These are always handled, whatever handlers the process inherited.
_ALWAYS = (signal.SIGTERM, signal.SIGINT)
# These are handled only if they would end the process. So nohup keeps SIGHUP ignored, and submitit keeps the signal by
# which it requeues a job.
_BY_DEFAULT = ("SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGXCPU")


class Interrupted(KeyboardInterrupt):
    """A signal asks this process to leave. It is no Exception, so that error handlers do not catch it."""


@dataclass
class _Heard:
    """The signals that this process got, and how it handles them."""

    listens: int = 0  # how many contexts of ``listening`` are open
    deferred: int = 0
    asked: signal.Signals | None = None  # the first signal
    reason: str = ""  # the first signal as text
    raised: bool = False  # whether ``Interrupted`` was raised for it
    hung_up: bool = False  # this process itself sent the next SIGTERM
    once: bool = False  # a second signal is ignored


_heard = _Heard()


@contextmanager
def listening() -> Iterator[None]:
    """Handles signals while it lasts. It does nothing outside of the main thread, which alone gets signals.

    If ``Interrupted`` is raised within a library, the library may raise an error of its own instead. Such an error is
    turned back into ``Interrupted`` here.
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
    """While it lasts, a first signal raises nothing: ``asked`` says whether to leave."""
    _heard.deferred += 1
    try:
        yield
    finally:
        _heard.deferred -= 1


def asked() -> str | None:
    """What asked this process to leave, such as "by SIGTERM"; None if nothing did.

    The exception that was raised then may be lost, because Python drops exceptions in finalizers.
    """
    return None if _heard.asked is None else _heard.reason


def is_deferred() -> bool:
    """Whether work in this process runs within ``deferred``."""
    return _heard.deferred > 0


def hang_up(*, once: bool = False) -> None:
    """Asks this process to leave; any thread may call it. It does not count as a second signal.

    ``once``: signals after this one are ignored.
    """
    _heard.once |= once
    _heard.hung_up = True
    os.kill(os.getpid(), signal.SIGTERM)


def leave_once() -> None:
    """Ignores second signals from now on, so that nothing cuts short what the process does after the first."""
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
