"""Leaving the training loop between two steps: a signal asks for it, or the watchdog does."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import TracebackType

from mdaf.processes import signals

EXIT_RESUMABLE = signals.EXIT_RESUMABLE  # the state is saved; the same command with resume=auto goes on
EXIT_HUNG = 76  # a step hung; resume=auto goes on from the last checkpoint

# Environment variables by which the typed command tells its child processes what to say to the user.
GOES_ON_VARIABLE = "MDAF_GOES_ON"
FOLDER_VARIABLE = "MDAF_OTHER_FOLDER"


class SaveAndStop(BaseException):
    """Raised between two steps: the loop saves its state and ends."""


class Interrupted(SaveAndStop, signals.Interrupted):
    """A signal asks the process to leave. It is no Exception, so that error handlers do not catch it."""


class Interruption:
    """While it lasts, the first signal makes ``check`` raise, and a second one ends the loop (``signals``)."""

    def __init__(self) -> None:
        self._context = ExitStack()

    def __enter__(self) -> Interruption:
        self._context.enter_context(signals.listening())
        self._context.enter_context(signals.deferred())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._context.close()

    def check(self) -> None:
        """Raises Interrupted if a signal came."""
        if (reason := signals.asked()) is not None:
            raise Interrupted(reason)


def asked() -> bool:
    """Whether a signal asked a loop of the main thread to leave."""
    return signals.is_deferred() and signals.asked() is not None


def check() -> None:
    """Raises Interrupted if a signal asked a loop of the main thread to leave. Call it while waiting within a step."""
    if threading.current_thread() is threading.main_thread() and signals.is_deferred():
        Interruption().check()


def is_typed() -> bool:
    """Whether a user typed the command of this process, and so can set its keys."""
    return GOES_ON_VARIABLE not in os.environ


def how_to_go_on() -> str:
    """The end of a sentence: the command that goes on from the state of this process."""
    return os.environ.get(GOES_ON_VARIABLE, "the same command with resume=auto goes on")


def how_to_choose_a_folder() -> str:
    """The override that chooses another folder."""
    return os.environ.get(FOLDER_VARIABLE, "hydra.run.dir=... (of a sweep: hydra.sweep.dir=...)")


@contextmanager
def messages_of_parent(*, goes_on: str, folder: str) -> Iterator[None]:
    """While it lasts, this process and its children say this to the user, who did not type their commands."""
    with environment({GOES_ON_VARIABLE: goes_on, FOLDER_VARIABLE: folder}):
        yield


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Sets environment variables for this process and its children, while it lasts."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
