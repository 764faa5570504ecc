"""Watches the calls that this process makes to study databases, warns if one is not answered, and ends it in the end.

If a server is stopped, or its machine freezes, its connections stay open. The operating system still acknowledges what
is sent, so no network timeout ends the call. Therefore a thread watches all current calls. After ``SAY_SECONDS``
without an answer it logs a warning. After ``HANG_UP_SECONDS`` it shuts the connection's socket down. The driver then
reports a lost connection, and ``retrying`` makes the call again.
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

from mdaf.processes import interruption

log = logging.getLogger(__name__)

SAY_SECONDS = 10.0
HANG_UP_SECONDS = 60.0  # doubled with each further attempt, since the server may only be slow
LOOK_SECONDS = 0.5

_local = threading.local()  # attribute ``call``: this thread's current call


@dataclass
class Call:
    """One call of a storage, with all its attempts.

    Calls that must not be carried out twice write ``token`` as well.
    """

    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    attempts: int = 0
    heard: float = field(default_factory=time.monotonic)  # time of the last message to or from the database
    connections: list[Any] = field(default_factory=list)  # the driver's connections that this attempt uses
    unanswered: bool = False  # whether a warning was logged


class Outage:
    """Whether one database is away, and whether the user was told. All threads of the process share it."""

    def __init__(self) -> None:
        self.since: float | None = None
        self._was_told = False
        self._lock = threading.Lock()

    def begin(self, since: float) -> None:
        """Records that the database has been away since this time, if not longer."""
        with self._lock:
            if self.since is None:
                self.since = since

    def tell(self, text: str) -> None:
        """Logs a warning, once for each outage."""
        with self._lock:
            was_told, self._was_told = self._was_told, True
        if not was_told:
            log.warning("%s", text)

    def end(self) -> None:
        """Records that the database answered."""
        if self.since is None:
            return
        with self._lock:
            since, was_told, self.since, self._was_told = self.since, self._was_told, None, False
        if since is not None and was_told:
            log.info("the study database is back after %.1f s", time.monotonic() - since)


# ---- the current calls


_watched: dict[int, tuple[Call, Outage, float]] = {}  # by thread: the call, its database, the longest wait in seconds
_starting = threading.Lock()
_watcher: threading.Thread | None = None


@contextmanager
def watched(call: Call, outage: Outage, limit: float) -> Iterator[None]:
    """Watches this thread's call during the context. ``limit`` is the longest wait in seconds."""
    call.heard, call.connections, call.unanswered = time.monotonic(), [], False
    thread = threading.get_ident()
    _watched[thread] = (call, outage, limit)
    _local.call = call
    _start_watcher()
    try:
        yield
    finally:
        _local.call = None
        _watched.pop(thread, None)


def pool_events() -> list[tuple[Any, str]]:
    """For an engine's argument ``pool_events``: records which connections a call uses, including the very first."""
    return [(_on_connection, "connect"), (_on_connection, "checkout")]


def listen(engine: sa.Engine) -> None:
    """Records the time of every message between an engine and its database."""
    for name in ("before_cursor_execute", "after_cursor_execute", "commit", "rollback"):
        event.listen(engine, name, _on_message)


def _on_connection(connection: Any, *_: Any) -> None:
    if (call := getattr(_local, "call", None)) is not None:
        call.heard = time.monotonic()
        call.connections.append(connection)


def _on_message(*_: Any) -> None:
    if (call := getattr(_local, "call", None)) is not None:
        call.heard = time.monotonic()


# ---- the thread that watches


def _start_watcher() -> None:
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
            silent_seconds = time.monotonic() - call.heard
            if silent_seconds >= SAY_SECONDS and not call.unanswered:
                call.unanswered = True
                outage.begin(call.heard)
                outage.tell(
                    f"the study database has not answered for {silent_seconds:.0f} s, waiting up to {limit:.0f} s"
                )
            interrupted = interruption.asked() and thread == threading.main_thread().ident
            longest = min(HANG_UP_SECONDS * 2 ** (call.attempts - 1), limit)
            if silent_seconds >= (LOOK_SECONDS if interrupted else longest):
                for connection in call.connections:
                    hang_up(connection)
                call.heard = time.monotonic()


def hang_up(connection: Any) -> None:
    """Shuts down the socket of a driver's connection. The thread that waits for it gets an error."""
    with suppress(Exception):  # the connection is closed already, or is a file without a socket
        descriptor = os.dup(connection.fileno())
        with socket.socket(fileno=descriptor) as line:
            line.shutdown(socket.SHUT_RDWR)


def _reset_after_fork() -> None:
    """A forked process has neither the calls nor the thread of its parent."""
    global _watcher, _starting
    _watched.clear()
    _watcher, _starting = None, threading.Lock()


os.register_at_fork(after_in_child=_reset_after_fork)
