"""Removes run folders: each is renamed first, so a kill leaves it whole or gone; it is deleted only if all is ours.

Nothing is reached by a path that could be exchanged meanwhile: each folder is opened below the one above it, and a
symbolic link is never followed.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mdaf.sweeper.run_folders.found import REMOVED
from mdaf.sweeper.run_folders.recognition import stranger_in
from mdaf.sweeper.runs.lock import LockedError, locked

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_OF_A_GRID = ("multirun.yaml", "tracker-mlflow")


class GoneError(Exception):
    """Another command removed the folder meanwhile."""


def why_it_stays(root: Path, folder: Path) -> str | None:
    """Why ``remove`` would leave a run's folder, as far as that is known before; None if it would not."""
    try:
        with _opened(root, folder) as inside:
            stranger = stranger_in(inside)
    except OSError:
        return None  # told by ``remove``, where it still holds then
    return None if stranger is None else f"holds {stranger}, which this program did not write"


def remove(root: Path, folder: Path) -> str | None:
    """Removes a run's folder below ``root``; the reason why not, or None. Raises ``GoneError``."""
    try:
        with _opened(root, folder.parent) as above:
            inside = os.open(folder.name, _OPEN, dir_fd=above)
            try:
                if stranger := stranger_in(inside):
                    return f"holds {stranger}, which this program did not write"
            finally:
                os.close(inside)
            hidden = f"{REMOVED}{folder.name}-{uuid.uuid4().hex[:8]}"
            with locked(folder):
                os.rename(folder.name, hidden, src_dir_fd=above, dst_dir_fd=above)
            return _delete(above, hidden)
    except FileNotFoundError:
        raise GoneError from None
    except LockedError:
        return "a process works in it"
    except OSError as error:
        return error.strerror or type(error).__name__


def remove_leftover(root: Path, folder: Path) -> str | None:
    """Ends what a killed command began."""
    try:
        with _opened(root, folder.parent) as above:
            return _delete(above, folder.name)
    except FileNotFoundError:
        return None
    except OSError as error:
        return error.strerror or type(error).__name__


def remove_empty(root: Path, folder: Path) -> None:
    """Removes the folders above a removed run that hold nothing any more, up to ``root``."""
    while folder != root and folder.is_relative_to(root):
        with suppress(OSError):
            names = os.listdir(folder)
            if names and set(names) <= set(_OF_A_GRID):
                for name in names:
                    (folder / name).unlink()
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent


def _delete(above: int, name: str) -> str | None:
    """Deletes a renamed folder unless it holds what this program did not write; then it gets no other name."""
    inside = os.open(name, _OPEN, dir_fd=above)
    try:
        if stranger := stranger_in(inside):
            return f"{name} holds {stranger}, which this program did not write"
    finally:
        os.close(inside)
    shutil.rmtree(name, dir_fd=above)
    return None


@contextmanager
def _opened(root: Path, folder: Path) -> Iterator[int]:
    """The descriptor of a folder below ``root``, reached without following any link."""
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in folder.relative_to(root).parts:
            inner = os.open(part, _OPEN, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)
