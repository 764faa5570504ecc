"""Waits for a study database that is locked or away, instead of losing the trial that wanted to write to it."""

from __future__ import annotations

import functools
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, RDBStorage
from sqlalchemy import exc

from sweeper.secrets import masked_text

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 300.0
MOST_SECONDS_BETWEEN = 5.0

Kind = TypeVar("Kind", bound=type[RDBStorage])

_LASTING = re.compile(
    "read-?only|no such (table|column)|does not exist|unknown database|syntax|permission|access denied|"
    "authentication|password|not a database|malformed",
    re.I,
)
_calling = threading.local()


def patient(kind: Kind) -> Kind:
    """Makes every public call of a storage wait up to ``PATIENCE_SECONDS`` for its database, with a word in the log.

    A call that failed because the database was locked or away changed nothing, so it is made again.
    """
    for name in (*vars(BaseStorage), "_get_trials"):  # the last is what a study reads through, by way of a cache
        if name == "_get_trials" or (
            not name.startswith("_") and name != "remove_session" and callable(getattr(kind, name))
        ):
            setattr(kind, name, _waiting(getattr(kind, name)))
    return kind


@contextmanager
def impatient() -> Iterator[None]:
    """Within it calls of this thread do not wait."""
    _calling.depth = getattr(_calling, "depth", 0) + 1
    try:
        yield
    finally:
        _calling.depth -= 1


def is_away(error: BaseException) -> bool:
    """Whether the database may be back soon: locked, restarting, out of reach."""
    if isinstance(error, StorageInternalError) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, StorageInternalError):  # said without a cause: of a lock that was not got
        return "lock" in str(error)
    away = isinstance(error, exc.OperationalError | exc.InterfaceError) or (
        isinstance(error, exc.DBAPIError) and error.connection_invalidated
    )
    return away and not _LASTING.search(str(getattr(error, "orig", error)))


def _waiting(call: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(call)
    def patiently(self: RDBStorage, *arguments: Any, **named: Any) -> Any:
        if getattr(_calling, "depth", 0):  # a call within a call: the outer one waits
            return call(self, *arguments, **named)
        with impatient():
            return _until_back(self, functools.partial(call, self, *arguments, **named))

    return patiently


def _until_back(storage: RDBStorage, call: Callable[[], Any]) -> Any:
    began, pause, told = time.monotonic(), 0.1, False
    while True:
        try:
            result = call()
        except (StorageInternalError, exc.SQLAlchemyError) as error:
            if not is_away(error) or time.monotonic() - began > PATIENCE_SECONDS:
                raise
            if not told:
                reason = masked_text(str(error.__cause__ or error).partition("\n")[0])
                log.warning("the study database is away, waiting up to %.0f s: %s", PATIENCE_SECONDS, reason)
                told = True
            storage.remove_session()  # this thread's connection may be the broken one
            time.sleep(pause)
            pause = min(2 * pause, MOST_SECONDS_BETWEEN)
        else:
            if told:
                log.info("the study database is back after %.1f s", time.monotonic() - began)
            return result
