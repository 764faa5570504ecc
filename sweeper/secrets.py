"""Passwords in the URLs of study databases: hidden in whatever is shown or kept."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

_PASSWORD_IN_QUERY = re.compile(r"([?&;](?:password|passwd|pwd|sslpassword|ssl_key_password)\\?=)[^&;\s'\"]+", re.I)


def masked(url: str) -> str:
    """``url`` with every password replaced by ``***``; of an ambiguous URL too much is hidden, never too little."""
    hidden = re.sub(r"^([^:/]+://[^:/]*):.*@", r"\1:***@", url, flags=re.S)
    return _PASSWORD_IN_QUERY.sub(r"\1***", hidden)


def masked_text(text: str) -> str:
    """Free text, such as a traceback, with the passwords of all URLs inside it replaced by ``***``."""
    # Hydra writes overrides of a grid with a backslash before each colon.
    hidden = re.sub(r"\b([A-Za-z][\w+.-]*\\?://[^\s:/]*):\S*@", r"\1:***@", text)
    return _PASSWORD_IN_QUERY.sub(r"\1***", hidden)


def mask_file(path: Path) -> None:
    """Hides the passwords in a text file; one that has none, or is not there, is left as it is."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        text = path.read_text(encoding="utf-8")
        if (hidden := masked_text(text)) != text:
            path.write_text(hidden, encoding="utf-8")
