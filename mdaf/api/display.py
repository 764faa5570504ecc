"""How things look: the lines of a running command, and what a notebook shows of a run or a report."""

from __future__ import annotations

import html
import sys
import time
from collections import deque
from collections.abc import Iterable
from typing import Any

LINES = 12  # of a running command, in a notebook
UPDATE_SECONDS = 0.5


class Shown:
    """Shows the lines of a command: in a notebook the latest ones, in one place; elsewhere each on standard error."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._latest: deque[str] = deque(maxlen=LINES)
        self._handle: Any = None
        self._updated = 0.0

    def line(self, text: str) -> None:
        """Shows one more line."""
        if self._quiet:
            return
        if not in_notebook():
            print(text, file=sys.stderr, flush=True)
            return
        self._latest.append(text)
        if time.monotonic() - self._updated >= UPDATE_SECONDS:
            self._update()

    def close(self) -> None:
        """Shows what is left to show."""
        if self._latest:
            self._update()
            self._latest.clear()

    def _update(self) -> None:
        from IPython.display import HTML, display

        self._updated = time.monotonic()
        content = HTML(f"<pre>{escaped(chr(10).join(self._latest))}</pre>")
        if self._handle is None:
            self._handle = display(content, display_id=True)
        else:
            self._handle.update(content)


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and getattr(shell, "kernel", None) is not None


def escaped(text: object) -> str:
    """A text that a page shows as it is, whatever it holds."""
    return html.escape(str(text), quote=True)


def table(title: str, rows: Iterable[tuple[str, object]]) -> str:
    """A small table for a notebook, with a title; every text in it is escaped."""
    cells = "".join(
        f'<tr><th style="text-align:left">{escaped(name)}</th><td style="text-align:left">{escaped(value)}</td></tr>'
        for name, value in rows
    )
    return f"<table><caption><b>{escaped(title)}</b></caption>{cells}</table>"
