"""Makes text that somebody else may have written safe for a terminal, a log, Markdown or a spreadsheet."""

from __future__ import annotations

import re
from typing import Any

# Characters that move the cursor, change colours, ring the bell, rename the window, or change the order of the text.
_UNFIT = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
_TAG = re.compile(r"<(?=[A-Za-z/!?])")
_FORMULA = re.compile(r"[=+\-@\t\r]")


def printable(text: Any) -> str:
    """``text`` with control characters escaped, such as ``\\u001b``. Line breaks and tabs are kept."""
    return _UNFIT.sub(lambda match: f"\\u{ord(match[0]):04x}", str(text))


def in_a_line(text: Any) -> str:
    """As ``printable``, on one line: line breaks and tabs are escaped too."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def in_markdown(text: Any) -> str:
    """As ``printable``, for Markdown: HTML tags are escaped."""
    return _TAG.sub(r"\\<", printable(text))


def in_a_cell(text: str) -> str:
    """``text`` as a field of a CSV file, with a quote in front if a spreadsheet would take it for a formula.

    Formulas begin with =, +, - or @. Numbers stay as they are.
    """
    if not _FORMULA.match(text):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text
