"""What goes wrong by a user's hand, told in one line."""

from __future__ import annotations


class DataError(ValueError):
    """A file or setting that cannot be used: names it, what was found, what was expected, what to do."""


class LeakageError(DataError):
    """A prepared store in which something of a later time reaches an earlier sample."""


def one_line(error: BaseException) -> str:
    """What an error says, and its cause's first line where that says more, in one line."""
    told = " ".join(str(error).partition("Config search path")[0].split())
    cause = str(error.__cause__ or "").strip().partition("\n")[0]
    return f"{told}: {cause}" if cause and cause not in told else told
