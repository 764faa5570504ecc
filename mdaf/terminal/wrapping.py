"""Breaks long lines between words on a terminal, which would break them within one. Elsewhere they stay as they are."""

from __future__ import annotations

import os
import re
import textwrap
from typing import Any

NARROWEST = 20  # columns: on fewer nothing is broken
_BEFORE = re.compile(r"(?:\[\d\d:\d\d:\d\d\])?\s*")
# A line to type. It stays whole, and at the left edge where a sentence precedes it, so that it can be copied.
_TO_TYPE = re.compile(r"(?:(?<=[:;,] )|(?<=  )|(?<= type )|(?<=^))(?:\S*/)?(?:mdaf(?:-\w+)? |python -m )(?!.*: ).*$")


def for_terminal(text: str, stream: Any, indent: int | None = None) -> str:
    """``text`` with lines that fit ``stream``, if that is a terminal; for ``indent`` see ``wrapped``."""
    width = _columns(stream)
    if width is None or max(map(len, text.split("\n"))) <= width:
        return text
    return "\n".join(wrapped(line, width, indent) for line in text.split("\n"))


def wrapped(line: str, width: int, indent: int | None = None) -> str:
    """The line in lines of at most ``width`` characters. A longer word, and a line to type, stay whole.

    ``indent``  spaces before what does not fit the first line; None: as many as the line has, or its time in a log.
    """
    if len(line) <= width or width < NARROWEST or "\x1b" in line or "\r" in line:
        return line
    before = " " * (len(_BEFORE.match(line)[0]) if indent is None else indent)  # type: ignore[index]
    to_type = _TO_TYPE.search(line)
    sentence = line[: to_type.start()].rstrip() if to_type else line
    if to_type and not sentence:
        return line
    lines = textwrap.wrap(sentence, width, subsequent_indent=before, break_long_words=False, break_on_hyphens=False)
    return "\n".join([*lines, to_type[0]] if to_type else lines)


def _columns(stream: Any) -> int | None:
    """The width of the terminal that ``stream`` writes to; None where it writes to none."""
    try:
        return (os.get_terminal_size(stream.fileno()).columns or 80) if stream.isatty() else None
    except (OSError, ValueError, AttributeError):
        return None
