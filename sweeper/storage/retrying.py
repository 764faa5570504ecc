"""Repeats calls to a study database that is locked or away, so that no trial is lost meanwhile.

The unit is a whole call of a storage, which is one transaction. A failed call may have been carried out: the connection
may have broken after the commit and before its answer. ``this_call`` identifies the call, so that its repetition can
recognize what was written already (``mdaf.sweeper.storage.idempotent``).

All calls of a process to one database share an outage. The user is told once, and the calls fail ``RETRY_SECONDS``
after the first one failed. Ctrl-C and SIGTERM end the wait at once.
"""

from __future__ import annotations

import functools
import inspect
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, RDBStorage
from sqlalchemy import exc

from mdaf.errors import StoppedError
from mdaf.messages.secrets import masked
from mdaf.processes import interruption
from mdaf.processes.interruption import EXIT_RESUMABLE
from mdaf.sweeper.storage.call_watch import Call, Outage, watched
from mdaf.sweeper.storage.database_errors import is_away, is_conflict, is_refusal, reason_of
from mdaf.sweeper.storage.optuna_internals import without_cache

log = logging.getLogger(__name__)

RETRY_SECONDS = 300.0
QUERY_SECONDS = 10.0  # for commands that only read: a person waits for the answer, and nothing can be lost
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 3.0
ATTEMPTS_AT_CONFLICTS = 5  # within ``without_waiting``, if two transactions are in conflict
SLICE_SECONDS = 0.25  # of a pause, after which signals are checked

Kind = TypeVar("Kind", bound=type[RDBStorage])
Result = TypeVar("Result")

_local = threading.local()  # call: the current one; not_waiting: how many ``without_waiting`` are open


class StorageAwayError(StorageInternalError, StoppedError):
    """A study database was away for too long. The same command can be typed again."""

    exit_code = EXIT_RESUMABLE


class StorageRefusedError(StorageInternalError, StoppedError):
    """A study database answered and refused: it is read-only, or permission is missing."""


def this_call() -> Call:
    """The current call of this thread, or a new one if there is none."""
    return getattr(_local, "call", None) or Call()


def retry_calls(kind: Kind) -> Kind:
    """Class decorator: every method of a storage, public or private, is repeated while the database is away.

    A call within a call belongs to the outer one. ``remove_session`` is left out, since it never asks the database.
    """
    for name, method in inspect.getmembers(kind, inspect.isfunction):
        of_the_class = isinstance(inspect.getattr_static(kind, name), staticmethod | classmethod)
        if not of_the_class and not name.startswith("__") and name != "remove_session":
            setattr(kind, name, _retrying(method))
    return kind


def wait_for(database: str, call: Callable[[], Result], forget: Callable[[], None] = lambda: None) -> Result:
    """Calls ``call`` until the database at the URL ``database`` answers, and returns the result.

    ``forget`` is called after each failure, to discard a broken connection. Raises StorageAwayError after
    ``RETRY_SECONDS``, or at once within ``without_waiting``. Raises StorageRefusedError if the database refuses, so
    that waiting is useless.
    """
    if getattr(_local, "call", None) is not None:  # a call within a call: the outer one is repeated
        return call()
    _local.call = made = Call()
    try:
        return _repeat(database, made, call, forget)
    finally:
        _local.call = None


@contextmanager
def without_waiting() -> Iterator[None]:
    """A context in which calls of this thread do not wait: the first failure is raised."""
    _local.not_waiting = getattr(_local, "not_waiting", 0) + 1
    try:
        yield
    finally:
        _local.not_waiting -= 1


@contextmanager
def briefly() -> Iterator[None]:
    """A context in which calls of this process wait at most ``QUERY_SECONDS``."""
    global RETRY_SECONDS
    before, RETRY_SECONDS = RETRY_SECONDS, min(RETRY_SECONDS, QUERY_SECONDS)
    try:
        yield
    finally:
        RETRY_SECONDS = before


def at_the_end(storage: BaseStorage, write_end: Callable[[], object]) -> None:
    """Calls ``write_end``, by which a process that is about to end writes so to the study, without waiting.

    If the database is away, nothing is called. The next process that reads the study finds the trials of a process that
    has ended, and gives them up.
    """
    database = getattr(without_cache(storage), "url", None)
    if database is not None and _outage(database).since is not None:
        log.warning("the study database is away: the next command gives up the trials that this process held")
        return
    try:
        with without_waiting():
            write_end()
    except StorageAwayError as error:
        log.warning("%s", error)


_outages: dict[str, Outage] = {}  # by URL


def away_since() -> float | None:
    """Since when a study database of this process has been away (``time.monotonic``); None if all of them answer."""
    return min((one.since for one in list(_outages.values()) if one.since is not None), default=None)


def _outage(database: str) -> Outage:
    return _outages.setdefault(database, Outage())


# ---- waiting


def _retrying(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def retried(self: RDBStorage, *arguments: Any, **named: Any) -> Any:
        if getattr(_local, "call", None) is not None:
            return method(self, *arguments, **named)
        return wait_for(self.url, functools.partial(method, self, *arguments, **named), self.remove_session)

    return retried


def _repeat(database: str, made: Call, call: Callable[[], Result], forget: Callable[[], None]) -> Result:
    outage, failed, pause = _outage(database), None, FIRST_PAUSE_SECONDS
    while True:
        made.attempts += 1
        try:
            with watched(made, outage, RETRY_SECONDS):
                result = call()
        except (StorageInternalError, exc.SQLAlchemyError, OSError) as error:
            forget()  # this thread's connection may be broken
            if not is_away(error):
                if is_refusal(error):
                    raise StorageRefusedError(f"the study database refused: {reason_of(error)}") from error
                raise
            now = time.monotonic()
            failed = failed or now
            outage.begin(failed)
            away_seconds = now - min(failed, outage.since or now)
            again = is_conflict(error) and made.attempts < ATTEMPTS_AT_CONFLICTS
            not_waiting = getattr(_local, "not_waiting", 0) and not again
            if away_seconds >= RETRY_SECONDS or not_waiting:
                raise StorageAwayError(_away_message(database, away_seconds, reason_of(error))) from error
            if made.attempts > 2 or not is_conflict(error):
                reason = reason_of(error)
                outage.tell(f"the study database is away, waiting up to {RETRY_SECONDS:.0f} s: {reason}")
            _pause(pause * random.uniform(0.5, 1.0))  # so that many processes do not come back at once
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        else:
            outage.end()
            return result


def _pause(seconds: float) -> None:
    """Sleeps. Raises at once if a signal asks this process to end."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        interruption.check()
        time.sleep(min(left, SLICE_SECONDS))
    interruption.check()


def _away_message(database: str, seconds: float, reason: str) -> str:
    return (
        f"the study database {masked(database)} has been away for {seconds:.0f} s: {reason}; nothing that was recorded "
        "is lost: when it is back, type the same command again"
    )
