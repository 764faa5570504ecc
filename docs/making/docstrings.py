"""Shows the arguments in this project's docstrings as lists: a name between double backticks, and its meaning."""

from __future__ import annotations

import re
from typing import Any

import griffe

LINE = re.compile(r"^``(\S+?)``((?:, ``\S+``)*) {2,}(.*(?:\n {2,}.*)*)", re.M)


class Lists(griffe.Extension):
    """An extension of griffe, which mkdocstrings reads the code with."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrites the docstring of each object that is read."""
        if obj.docstring:
            text = LINE.sub(lambda line: f"- `{line[1]}`{line[2]}: {' '.join(line[3].split())}", obj.docstring.value)
            obj.docstring.value = re.sub(r"(?m)(?<=[^\n])\n(?=- `)(?<!\n- )", "\n", text)
