"""Tells somebody that a command has finished, is failing, or has found a new best value: a program, or a webhook.

The settings come from the config that was typed, never from a study, a run's folder or a data file. An alert that fails
is one warning, and changes nothing else.
"""

from __future__ import annotations

import json
import logging
import platform
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from mdaf import outcome
from mdaf.errors import text_of
from mdaf.secrets import masked_text
from mdaf.signals import EXIT_AT_ONCE, Interrupted

log = logging.getLogger(__name__)

FINISHED, FAILING, NEW_BEST = EVENTS = ("finished", "failing", "new_best")
TIMEOUT_SECONDS = 5.0  # of a webhook
COMMAND_SECONDS = 30.0  # after which a program that was told is ended
TOLD = ("folder", "study", "value")  # what an alert says besides its text: no storage, which may hold a password


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
        try:
            if self.command:
                self._run(said)
            if self.webhook:
                self._post({"event": event, "text": said, **facts})
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            self._warn(error)

    def _run(self, text: str) -> None:
        whole = [*self.command, *([text] if self.message == "argument" else [])]
        given = text if self.message == "stdin" else ""
        ended = subprocess.run(
            whole,
            input=given.encode(),
            capture_output=True,
            timeout=COMMAND_SECONDS,
            check=False,
            start_new_session=True,
        )
        if ended.returncode:
            raise OSError(f"{self.command[0]} ended with exit code {ended.returncode}")

    def _post(self, content: Mapping[str, Any]) -> None:
        assert self.webhook is not None
        body = json.dumps(content, default=str).encode()
        request = urllib.request.Request(self.webhook, body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS):
                pass
        except (OSError, ValueError) as error:  # the path of a webhook is a secret, so only the host is named
            why = f"answered {error.code}" if isinstance(error, urllib.error.HTTPError) else type(error).__name__
            raise OSError(f"{urlsplit(self.webhook).hostname}: {why}") from None

    def _warn(self, error: Exception) -> None:
        if not self._has_warned:
            said = (
                f"{self.command[0]} took too long" if isinstance(error, subprocess.TimeoutExpired) else text_of(error)
            )
            log.warning("an alert could not be sent: %s; nothing more is said of it", said)
        self._has_warned = True


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
    """Tells how a command ended that runs within this context. Nobody is told that Ctrl-C ended it.

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
    return ", ".join(text for text in (study, value, str(found.get("folder", ""))) if text) or "done"
