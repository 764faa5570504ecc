"""Waits for a study database that is locked or away, instead of losing the trial that wanted to write to it.

What is waited for is a whole call of a storage: one transaction. A call that failed may have been carried out all the
same, if the connection broke after the commit and before its answer. ``this_call`` names the call, so that what it did
can be recognized when it is made again (``mdaf.sweeper.storage.idempotent``).

All calls of a process to one database share the wait: it is told once, and it ends ``RETRY_SECONDS`` after the first
call failed. Ctrl-C and SIGTERM end it at once.
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

from mdaf import interruption
from mdaf.errors import StoppedError
from mdaf.interruption import EXIT_RESUMABLE
from mdaf.secrets import masked
from mdaf.sweeper.storage.call_watch import Call, Outage, watched
from mdaf.sweeper.storage.database_errors import is_away, is_conflict, is_refusal, reason_of
from mdaf.sweeper.storage.optuna_internals import without_cache

log = logging.getLogger(__name__)

RETRY_SECONDS = 300.0
QUERY_SECONDS = 10.0  # where somebody waits for an answer and nothing is lost
FIRST_PAUSE_SECONDS = 0.1
MOST_SECONDS_BETWEEN = 3.0
TRIES_IN_A_HURRY = 5  # of a call that met another transaction
SLICE_SECONDS = 0.25  # of a pause, between two looks whether a signal came

Kind = TypeVar("Kind", bound=type[RDBStorage])
Result = TypeVar("Result")

_local = threading.local()  # call: the one that is being made; hurried: how many `without_waiting` are open


class StorageAwayError(StorageInternalError, StoppedError):
    """A study database that did not come back in time. Nothing is wrong with what was typed."""

    exit_code = EXIT_RESUMABLE


class StorageRefusedError(StorageInternalError, StoppedError):
    """A study database that answers, and does not do what it is asked: it is read-only, or permission is missing."""


def this_call() -> Call:
    """The call of this thread that is being made; a new one outside of any."""
    return getattr(_local, "call", None) or Call()


def retry_calls(kind: Kind) -> Kind:
    """Makes every method of a storage class wait for its database, whether Optuna calls it public or private.

    Within a call others are part of it. ``remove_session`` alone never asks the database.
    """
    for name, method in inspect.getmembers(kind, inspect.isfunction):
        of_the_class = isinstance(inspect.getattr_static(kind, name), staticmethod | classmethod)
        if not of_the_class and not name.startswith("__") and name != "remove_session":
            setattr(kind, name, _waiting(method))
    return kind


def wait_for(database: str, call: Callable[[], Result], forget: Callable[[], None] = lambda: None) -> Result:
    """The result of ``call``, made again until the database at the URL ``database`` answers.

    ``forget`` lets go of what a failed call left behind. Raises StorageAwayError after ``RETRY_SECONDS``, at once
    within ``without_waiting``; StorageRefusedError if the database refuses what waiting does not mend.
    """
    if getattr(_local, "call", None) is not None:  # a call within a call: the outer one waits
        return call()
    _local.call = made = Call()
    try:
        return _until_back(database, made, call, forget)
    finally:
        _local.call = None


@contextmanager
def without_waiting() -> Iterator[None]:
    """Within it calls of this thread do not wait."""
    _local.hurried = getattr(_local, "hurried", 0) + 1
    try:
        yield
    finally:
        _local.hurried -= 1


@contextmanager
def briefly() -> Iterator[None]:
    """Within it calls of this process wait as long as a query may."""
    global RETRY_SECONDS
    before, RETRY_SECONDS = RETRY_SECONDS, min(RETRY_SECONDS, QUERY_SECONDS)
    try:
        yield
    finally:
        RETRY_SECONDS = before


def at_the_end(storage: BaseStorage, tell: Callable[[], object]) -> None:
    """Has a process that is asked to end ``tell`` the study so: without waiting, and not at all if it has waited.

    What is left undone is made good by the next process that looks: the trials' own process is gone by then.
    """
    database = getattr(without_cache(storage), "url", None)
    if database is not None and _outage(database).since is not None:
        log.warning("the study database is away: the next command gives up the trials that this process held")
        return
    try:
        with without_waiting():
            tell()
    except StorageAwayError as error:
        log.warning("%s", error)


_outages: dict[str, Outage] = {}  # by URL


def _outage(database: str) -> Outage:
    return _outages.setdefault(database, Outage())


# ---- waiting


def _waiting(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def retried(self: RDBStorage, *arguments: Any, **named: Any) -> Any:
        if getattr(_local, "call", None) is not None:
            return method(self, *arguments, **named)
        return wait_for(self.url, functools.partial(method, self, *arguments, **named), self.remove_session)

    return retried


def _until_back(database: str, made: Call, call: Callable[[], Result], forget: Callable[[], None]) -> Result:
    outage, failed, pause = _outage(database), None, FIRST_PAUSE_SECONDS
    while True:
        made.attempts += 1
        try:
            with watched(made, outage, RETRY_SECONDS):
                result = call()
        except (StorageInternalError, exc.SQLAlchemyError, OSError) as error:
            forget()  # this thread's connection may be the broken one
            if not is_away(error):
                if is_refusal(error):
                    raise StorageRefusedError(f"the study database refused: {reason_of(error)}") from error
                raise
            now = time.monotonic()
            failed = failed or now
            outage.begin(failed)
            lasts = now - min(failed, outage.since or now)
            hurried = getattr(_local, "hurried", 0) and not (is_conflict(error) and made.attempts < TRIES_IN_A_HURRY)
            if lasts >= RETRY_SECONDS or hurried:
                raise StorageAwayError(_gone(database, lasts, reason_of(error))) from error
            if made.attempts > 2 or not is_conflict(error):
                reason = reason_of(error)
                outage.tell(f"the study database is away, waiting up to {RETRY_SECONDS:.0f} s: {reason}")
            _pause(pause * random.uniform(0.5, 1.0))  # of many processes not all come back at one moment
            pause = min(2 * pause, MOST_SECONDS_BETWEEN)
        else:
            outage.end()
            return result


def _pause(seconds: float) -> None:
    """Sleeps, but for a signal that asks this process to end."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        interruption.check()
        time.sleep(min(left, SLICE_SECONDS))
    interruption.check()


def _gone(database: str, seconds: float, reason: str) -> str:
    return (
        f"the study database {masked(database)} has been away for {seconds:.0f} s: {reason}; nothing that was recorded "
        "is lost: when it is back, type the same command again"
    )
