"""The entry of a sweep at a tracker, in which those of its runs are nested: made once, whichever process is first."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from mdaf.files.plain import plain_text
from mdaf.sweeper.tracking.tracker import Told

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]

_ID = re.compile(r"[\w-]{1,64}", re.ASCII)


def parent_of(tracker: str, told: Told) -> str | None:
    """The id of the sweep's entry; None where the run belongs to no sweep, or the tracker groups runs by a name."""
    if told.group_folder is None or tracker != "mlflow":
        return None
    from mdaf.sweeper.tracking import mlflow_runs

    file = told.group_folder / f"tracker-{tracker}"
    with file.open("a+") as held:
        if fcntl is not None:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(held, fcntl.LOCK_EX)
        known = plain_text(file).read_text().strip()
        if _ID.fullmatch(known):
            return known
        made = mlflow_runs.parent_of(told)
        held.truncate(0)
        held.write(made)
        held.flush()
        os.fsync(held.fileno())
        return made


def group_of(folder: Path) -> str:
    """The name of a sweep, by its folder: the folder's name, or its last two parts where that is a time of day."""
    named = folder.name
    return f"{folder.parent.name}/{named}" if re.fullmatch(r"\d\d-\d\d-\d\d(-\d+)?", named) else named
