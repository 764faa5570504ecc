"""What goes wrong by a user's hand, told in one line."""

from __future__ import annotations


class DataError(ValueError):
    """A file or setting that cannot be used: names it, what was found, what was expected, what to do."""


class LeakageError(DataError):
    """A prepared store in which something of a later time reaches an earlier sample."""
