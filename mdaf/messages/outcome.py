"""What the command of this process has come to: for the Python program that started it, and for alerts."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from mdaf.files.atomic import write_atomically

FILE_VARIABLE = "MDAF_OUTCOME_FILE"  # where the process that started the command reads its outcome

_noted: dict[str, Any] = {}


def note(**facts: Any) -> None:
    """Adds facts, such as ``folder`` or ``study``. A later fact of the same name replaces the earlier one."""
    _noted.update(facts)
    if file := os.environ.get(FILE_VARIABLE):
        content = json.dumps(_noted, default=str).encode()
        write_atomically(Path(file), lambda handle: handle.write(content))


def noted() -> dict[str, Any]:
    """The facts so far."""
    return dict(_noted)


def forget() -> None:
    """Begins anew, where one process runs several commands."""
    _noted.clear()
