"""The exceptions that more than one package raises or catches."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Bad input. One line: which key or file, what was found, what was expected, what to type instead."""


class NotAllowedError(UserError):
    """A config names code that the user has not allowed. The line to type is in the message."""


class StoppedError(RuntimeError):
    """A correctly configured run ended without a result. One line; ``exit_code`` is that of the process."""

    exit_code = 1
    of_its_point = False  # whether the parameters are the cause, so that a retry would end in the same way: it diverged


class LostError(StoppedError):
    """The process of a job is gone, without a word of the job. The same command goes on from what it has saved."""

    exit_code = 75


class DataError(ValueError):
    """A data file or data setting that cannot be used. One line, like ``UserError``."""


class DamagedStoreError(DataError):
    """A store whose files are not what was written. ``found`` says why, without the remedy."""

    def __init__(self, found: str, remedy: str) -> None:
        super().__init__(f"{found}; {remedy}")
        self.found = found


class LeakageError(DataError):
    """A prepared store in which a sample contains information from a later time."""


def text_of(error: BaseException) -> str:
    """The message of an error; its kind where its class raises another error instead of giving one."""
    try:
        return str(error)
    except Exception:
        return type(error).__name__


def did_you_mean(found: str, known: Iterable[str], prefix: str = "", cutoff: float = 0.6) -> str:
    """``; did you mean X?`` with the known name that is closest to ``found``; empty if none is close.

    ``prefix``  is written before the name, so that the user can type it as it is.
    ``cutoff``  difflib's ratio from which a name is close.
    """
    names = {name.lower(): name for name in known}
    closest = difflib.get_close_matches(found.lower(), names, n=1, cutoff=cutoff)
    return f"; did you mean {prefix}{names[closest[0]]}?" if closest else ""
