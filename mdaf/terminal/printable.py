"""Text that somebody else may have written, made fit for a terminal, a log or a spreadsheet."""

from __future__ import annotations

import re
from typing import Any

# What moves the cursor, colours, rings, renames the window, or makes text read in another order than it stands in.
_UNFIT = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
_TAG = re.compile(r"<(?=[A-Za-z/!?])")
_FORMULA = re.compile(r"[=+\-@\t\r]")


def printable(text: Any) -> str:
    """``text`` with control characters written out, as ``\\u001b``; line breaks and tabs stay."""
    return _UNFIT.sub(lambda match: f"\\u{ord(match[0]):04x}", str(text))


def in_a_line(text: Any) -> str:
    """The same on one line."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def in_markdown(text: Any) -> str:
    """The same for Markdown, in which a tag of HTML would be one."""
    return _TAG.sub(r"\\<", printable(text))


def in_a_cell(text: str) -> str:
    """``text`` as a field of a table for spreadsheets, which take what begins with =, +, - or @ for a formula."""
    if not _FORMULA.match(text):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text
