"""Tells somebody that a command has finished, is failing, or has found a new best value: a program, or a webhook.

The settings come from the config that was typed, never from a study, a run's folder or a data file. An alert that fails
is one warning, and changes nothing else.
"""

from __future__ import annotations

import http.client
import json
import logging
import os
import platform
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from mdaf.errors import text_of
from mdaf.messages import outcome
from mdaf.messages.secrets import masked_text
from mdaf.processes.bounded import within
from mdaf.processes.signals import EXIT_AT_ONCE, Interrupted

log = logging.getLogger(__name__)

FINISHED, FAILING, NEW_BEST = EVENTS = ("finished", "failing", "new_best")
TIMEOUT_SECONDS = 5.0  # of each answer of a webhook's server
WEBHOOK_SECONDS = 15.0  # of all of it: a server may answer a byte at a time
COMMAND_SECONDS = 30.0  # after which a program that was told is ended
# What an alert says besides its text: no storage, which may hold a password.
TOLD = ("folder", "study", "value", "verdict")


@dataclass
class Alerts:
    """Whom this process tells, and of what.

    ``name``  what the command is, in the message: ``mdaf`` or ``mdaf-phase4``
    """

    name: str
    command: Sequence[str] = ()
    message: Literal["stdin", "argument"] = "stdin"
    webhook: str | None = None
    on: Sequence[str] = EVENTS
    _has_warned: bool = field(default=False, init=False)

    @classmethod
    def of(cls, settings: Mapping[str, Any] | None, name: str) -> Alerts:
        """The alerts of a config's node ``alert``; nobody is told where a config has no such node."""
        if settings is None:
            return cls(name)
        given = {key: settings[key] for key in ("message", "webhook")}
        return cls(name, tuple(map(str, settings["command"] or ())), on=tuple(settings["on"]), **given)

    def wants(self, event: str) -> bool:
        """Whether anybody is told of an event."""
        return event in self.on and bool(self.command or self.webhook)

    def tell(self, event: str, text: str, **facts: Any) -> None:
        """Tells of an event, if that was asked for. Returns when everybody was told, or could not be."""
        if not self.wants(event):
            return
        said = masked_text(f"{self.name} on {platform.node()}: {text}")
        if self.command:
            self._try(lambda: self._run(said))
        if self.webhook:
            self._try(lambda: self._post({"event": event, "text": said, **facts}))

    def _try(self, way: Callable[[], None]) -> None:
        try:
            way()
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            self._warn(error)

    def _run(self, text: str) -> None:
        whole = [*self.command, *([text] if self.message == "argument" else [])]
        given = f"{text}\n" if self.message == "stdin" else ""
        with subprocess.Popen(
            whole,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as process:
            try:
                process.communicate(given.encode(errors="replace"), timeout=COMMAND_SECONDS)
            except BaseException:
                _end(process)
                raise
        if process.returncode:
            raise OSError(f"{self.command[0]} ended with exit code {process.returncode}")

    def _post(self, content: Mapping[str, Any]) -> None:
        body = json.dumps(content, default=str).encode()
        try:
            within(WEBHOOK_SECONDS, lambda: _send(str(self.webhook), body))
        except (OSError, ValueError, http.client.HTTPException) as error:  # its path is a secret: the host is named
            raise OSError(f"{urlsplit(self.webhook).hostname!s}: {_why(error)}") from None

    def _warn(self, error: Exception) -> None:
        if not self._has_warned:
            said = (
                f"{self.command[0]} took too long" if isinstance(error, subprocess.TimeoutExpired) else text_of(error)
            )
            log.warning("an alert could not be sent: %s; nothing more is said of it", said)
        self._has_warned = True


def _why(error: Exception) -> str:
    """Why a webhook was not reached, without its path."""
    if isinstance(error, urllib.error.HTTPError):
        return f"answered {error.code}"
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, OSError):
        return error.reason.strerror or type(error.reason).__name__
    return type(error).__name__


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: only the address that was typed is told."""

    def redirect_request(self, *_: Any) -> None:
        """No other request."""


def _send(url: str, body: bytes) -> None:
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.build_opener(_NoRedirect).open(request, timeout=TIMEOUT_SECONDS):
        pass


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a program with all that it has started."""
    with suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()


_alerts = Alerts("mdaf")


def use(alerts: Alerts) -> None:
    """Sets whom this process tells."""
    global _alerts
    _alerts = alerts


def wanted(event: str) -> bool:
    """Whether this process tells anybody of an event."""
    return _alerts.wants(event)


def tell(event: str, text: str, **facts: Any) -> None:
    """Tells whomever this process tells."""
    _alerts.tell(event, text, **facts)


@contextmanager
def at_the_end(in_words: Callable[[Exception], str | None], *, of_a_worker: bool = False) -> Iterator[None]:
    """Tells how the command within this context ended, unless Ctrl-C ended it.

    ``in_words``     gives the line that a user sees for an error, or None.
    ``of_a_worker``  whether another process of this program started the command, and tells how it ended.
    """
    use(Alerts("mdaf"))
    outcome.forget()
    try:
        yield
    except BaseException as error:
        if (said := _how_it_failed(error, in_words)) and not of_a_worker:
            tell(FAILING, f"failed: {said}", **_facts())
        raise
    else:
        if not of_a_worker:
            tell(FINISHED, f"finished: {_reached()}", **_facts())
    finally:
        use(Alerts("mdaf"))


def _how_it_failed(error: BaseException, in_words: Callable[[Exception], str | None]) -> str | None:
    """The reason in words; None where nothing failed."""
    if isinstance(error, SystemExit):
        if error.code in (None, 0, EXIT_AT_ONCE):
            return None
        if error.__context__ is None:
            return f"exit code {error.code}"
        error = error.__context__
    if isinstance(error, KeyboardInterrupt):
        typed = not isinstance(error, Interrupted) or "SIGINT" in str(error)
        return None if typed else f"interrupted {error}"
    if not isinstance(error, Exception):
        return None
    return in_words(error) or f"{type(error).__name__}: {text_of(error)}"


def _facts() -> dict[str, Any]:
    return {name: value for name, value in outcome.noted().items() if name in TOLD}


def _reached() -> str:
    """What the command came to, in words."""
    found = _facts()
    study = f"study {found['study']}" if "study" in found else ""
    value = f"best {found['value']}" if found.get("value") is not None else ""
    said = (study, str(found.get("verdict", "")).removesuffix("."), value, str(found.get("folder", "")))
    return ", ".join(text for text in said if text) or "done"
