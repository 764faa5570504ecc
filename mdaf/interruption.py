"""Leaving the training loop between two steps: a signal asks for it, or the watchdog does."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import TracebackType

from mdaf import signals

EXIT_RESUMABLE = signals.EXIT_RESUMABLE  # the state is saved, and the same command with resume=auto goes on
EXIT_HUNG = 76  # no step came to its end: the last state is that of the last save, and resume=auto goes on from there

# What the command that was typed says, to the processes that it starts.
GOES_ON_VARIABLE = "MDAF_GOES_ON"
FOLDER_VARIABLE = "MDAF_OTHER_FOLDER"


class SaveAndStop(BaseException):
    """Raised between two steps, so that the loop can save where it stands."""


class Interrupted(SaveAndStop, signals.Interrupted):
    """A signal came. Like Ctrl-C it passes through what catches errors, up to who started the process."""


class Interruption:
    """While it lasts the first signal asks the loop to leave, and impatience ends it at once (``mdaf.signals``)."""

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
    """Raises Interrupted if a signal asked a loop of the main thread to leave: for what waits within a step."""
    if threading.current_thread() is threading.main_thread() and signals.is_deferred():
        Interruption().check()


def is_typed() -> bool:
    """Whether the command that was typed is this process's own: its keys are what a user can set."""
    return GOES_ON_VARIABLE not in os.environ


def how_to_go_on() -> str:
    """The end of a sentence: which command goes on with what this process leaves."""
    return os.environ.get(GOES_ON_VARIABLE, "the same command with resume=auto goes on")


def how_to_choose_a_folder() -> str:
    """What to type for another folder."""
    return os.environ.get(FOLDER_VARIABLE, "hydra.run.dir=... (of a sweep: hydra.sweep.dir=...)")


@contextmanager
def speaking_for(*, goes_on: str, folder: str) -> Iterator[None]:
    """While it lasts this is said by this process and those that it starts: nobody typed theirs."""
    with environment({GOES_ON_VARIABLE: goes_on, FOLDER_VARIABLE: folder}):
        yield


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """While it lasts this process, and those that it starts, have these variables."""
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
