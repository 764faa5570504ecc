"""Logs without passwords, and tracebacks in the log file for errors that the user sees as one line."""

from __future__ import annotations

import logging
import sys
import traceback
import warnings
from pathlib import Path
from types import TracebackType
from typing import Any

from mdaf.messages.secrets import masked_text
from mdaf.terminal.printable import printable

SILENT = ("torch._subclasses.fake_tensor",)  # prints statistics of a cache when a process ends
_FORMAT_WARNING = warnings.formatwarning


class MaskedRecord(logging.LogRecord):
    """A log record whose message and traceback show no password."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        if self.exc_info and self.exc_info[0] is not None:
            self.exc_text = printable(masked_text("".join(traceback.format_exception(*self.exc_info)).rstrip()))

    def getMessage(self) -> str:  # noqa: N802 - the name is logging's
        return printable(masked_text(super().getMessage()))


def set_up() -> None:
    """Masks passwords in all logs of this process, and ignores errors of logs that cannot be written."""
    logging.setLogRecordFactory(MaskedRecord)
    for name in SILENT:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.raiseExceptions = False
    sys.excepthook = _print_masked
    warnings.formatwarning = _format_masked


def _print_masked(kind: type[BaseException], error: BaseException, tb: TracebackType | None) -> None:
    """Prints the traceback of an uncaught exception, as Python does."""
    sys.stderr.write(printable(masked_text("".join(traceback.format_exception(kind, error, tb)))))


def _format_masked(*warning: Any, **named: Any) -> str:
    return printable(masked_text(_FORMAT_WARNING(*warning, **named)))


_said: set[str] = set()


def warn_once(log: logging.Logger, message: str, *arguments: object) -> None:
    """A warning of a fault that is met each time the same file is read: this process says it the first time.

    A file is the same one by whichever path it is met.
    """
    text = message % tuple(part.resolve() if isinstance(part, Path) else part for part in arguments)
    if text not in _said:
        _said.add(text)
        log.warning(message, *arguments)


def keep_traceback(error: BaseException) -> None:
    """Writes the traceback to all open log files, but not to the terminal."""
    record = MaskedRecord(
        __name__, logging.ERROR, __file__, 0, "%s", (type(error).__name__,), (type(error), error, error.__traceback__)
    )
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(record)
