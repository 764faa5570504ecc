"""Watches the calls that a process makes to its study databases: says when one is not answered, and ends a dead wait.

A server that is stopped, or whose machine froze, keeps its connections open: the system goes on to acknowledge what is
sent, and no timeout of the network applies. So a thread looks at the calls that are being made. After ``SAY_SECONDS``
without an answer it says so; after ``HANG_UP_SECONDS`` it shuts the connection's socket down, which the driver reports
as a connection that was lost: then the call is made again.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

from mdaf import interruption

log = logging.getLogger(__name__)

SAY_SECONDS = 10.0
HANG_UP_SECONDS = 60.0  # doubled with every further attempt: a slow answer is one, too
LOOK_SECONDS = 0.5

_local = threading.local()  # call: the one that this thread makes


@dataclass
class Call:
    """A call of a storage, however many times it is made; ``token`` is written with what must not be done twice."""

    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    attempts: int = 0
    heard: float = field(default_factory=time.monotonic)  # when the database was last heard of, or spoken to
    connections: list[Any] = field(default_factory=list)  # the driver's, that this attempt uses
    unanswered: bool = False  # and that was said


class Outage:
    """What this process knows of the absence of one database; its threads share it."""

    def __init__(self) -> None:
        self.since: float | None = None
        self._told = False
        self._lock = threading.Lock()

    def begin(self, since: float) -> None:
        """The database is away, at least since then."""
        with self._lock:
            if self.since is None:
                self.since = since

    def tell(self, text: str) -> None:
        """Says once, of one absence, what is waited for."""
        with self._lock:
            told, self._told = self._told, True
        if not told:
            log.warning("%s", text)

    def end(self) -> None:
        """The database answered."""
        if self.since is None:
            return
        with self._lock:
            since, told, self.since, self._told = self.since, self._told, None, False
        if since is not None and told:
            log.info("the study database is back after %.1f s", time.monotonic() - since)


# ---- the calls that are being made


_watched: dict[int, tuple[Call, Outage, float]] = {}  # by thread: the call, its database, how long it is waited for
_starting = threading.Lock()
_watcher: threading.Thread | None = None


@contextmanager
def watched(call: Call, outage: Outage, limit: float) -> Iterator[None]:
    """While the context lasts the call of this thread is looked after."""
    call.heard, call.connections, call.unanswered = time.monotonic(), [], False
    thread = threading.get_ident()
    _watched[thread] = (call, outage, limit)
    _local.call = call
    _start()
    try:
        yield
    finally:
        _local.call = None
        _watched.pop(thread, None)


def pool_events() -> list[tuple[Any, str]]:
    """For an engine's ``pool_events``: it tells which connections a call uses, from the first one on."""
    return [(_uses, "connect"), (_uses, "checkout")]


def listen(engine: sa.Engine) -> None:
    """Has an engine tell when a call speaks or hears."""
    for name in ("before_cursor_execute", "after_cursor_execute", "commit", "rollback"):
        event.listen(engine, name, _speaks)


def _uses(connection: Any, *_: Any) -> None:
    if (call := getattr(_local, "call", None)) is not None:
        call.heard = time.monotonic()
        call.connections.append(connection)


def _speaks(*_: Any) -> None:
    if (call := getattr(_local, "call", None)) is not None:
        call.heard = time.monotonic()


# ---- the thread


def _start() -> None:
    global _watcher
    if _watcher is not None and _watcher.is_alive():
        return
    with _starting:
        if _watcher is None or not _watcher.is_alive():
            _watcher = threading.Thread(target=_watch, name="study database", daemon=True)
            _watcher.start()


def _watch() -> None:
    while True:
        time.sleep(LOOK_SECONDS)
        for thread, (call, outage, limit) in list(_watched.items()):
            silent = time.monotonic() - call.heard
            if silent >= SAY_SECONDS and not call.unanswered:
                call.unanswered = True
                outage.begin(call.heard)
                outage.tell(f"the study database has not answered for {silent:.0f} s, waiting up to {limit:.0f} s")
            leaving = interruption.asked() and thread == threading.main_thread().ident
            longest = min(HANG_UP_SECONDS * 2 ** (call.attempts - 1), limit)
            if silent >= (LOOK_SECONDS if leaving else longest):
                for connection in call.connections:
                    hang_up(connection)
                call.heard = time.monotonic()


def hang_up(connection: Any) -> None:
    """Shuts the socket of a driver's connection down, in whatever thread it is waited on; a file has none."""
    with suppress(Exception):  # it is closed by now, or has no socket
        descriptor = os.dup(connection.fileno())
        with socket.socket(fileno=descriptor) as line:
            line.shutdown(socket.SHUT_RDWR)


def _forget() -> None:
    """In a forked process: neither the calls nor the thread of the other one."""
    global _watcher, _starting
    _watched.clear()
    _watcher, _starting = None, threading.Lock()


os.register_at_fork(after_in_child=_forget)
