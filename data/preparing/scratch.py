"""Temporary folders for stores in preparation. The next preparation removes folders of processes that were killed."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mdaf.data.store.integrity.folder_locks import Hold, alone_in, hold, is_local, machine

log = logging.getLogger(__name__)

ABANDONED_SECONDS = 86_400  # a folder of another machine without a change for this time is abandoned
STORES = r"[a-z_]+-[0-9a-f]{12}"  # names of stores
_UNFINISHED = r"\.(?:{of})-(?:(?P<machine>[0-9a-f]{{8}})-)?[a-z0-9_]{{8}}"
_REPLACED = r"\.(?:{of})-(?:replaced|damaged)-[a-z0-9_]{{8}}"  # an earlier version wrote damaged


@contextmanager
def scratch(parent: Path, name: str) -> Iterator[Path]:
    """A private folder in ``parent`` in which ``name`` is created. Raises OSError if the folder cannot be created.

    It is removed at the end, unless it was renamed. If another folder has its name by then, that folder is removed only
    if nobody uses it.
    """
    parent.mkdir(parents=True, exist_ok=True)
    sweep(parent, re.escape(name))
    folder, lock = _create_locked(parent, name)
    created = os.stat(folder)
    try:
        yield folder
    finally:
        if lock is not None:
            lock.release()
        with contextlib.suppress(OSError):  # it was renamed or removed
            if os.path.samestat(os.stat(folder), created):
                shutil.rmtree(folder, ignore_errors=True)
            else:
                _remove_unused(folder, sure=is_local(folder))


def _create_locked(parent: Path, name: str) -> tuple[Path, Hold | None]:
    """Creates a folder and locks it."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f".{name}-{machine()}-", dir=parent))
        lock = hold(folder)
        with contextlib.suppress(FileNotFoundError):  # another process's sweep removed it before it was locked
            found = os.stat(folder)
            if lock is None or os.path.samestat(os.fstat(lock.descriptor), found):
                return folder, lock
        if lock is not None:
            lock.release()


def set_aside(folder: Path, name: str) -> None:
    """Removes a folder that was replaced, or renames it while another process may use it.

    Files that this process has mapped stay readable.
    """
    if folder.is_symlink():  # its target does not belong to us
        folder.unlink()
        return
    kept = Path(tempfile.mkdtemp(prefix=f".{name}-replaced-", dir=folder.parent))
    folder.rename(kept)
    if not _remove_unused(kept, sure=is_local(kept), own_users_count=False):
        log.warning("%s, which was replaced, is kept for those who may still read it", kept)


def sweep(parent: Path, of: str = STORES) -> None:
    """Removes the folders that dead processes left in ``parent``; ``of`` is a pattern of store names.

    A living process keeps its folder: it holds a lock. Where locks of another machine may not be visible, a folder is
    removed only after a day without any change.
    """
    unfinished, replaced = (re.compile(pattern.format(of=of)) for pattern in (_UNFINISHED, _REPLACED))
    with contextlib.suppress(OSError):
        for folder in sorted(path for path in parent.iterdir() if path.name.startswith(".") and path.is_dir()):
            if replaced.fullmatch(folder.name):
                _remove_unused(folder, sure=is_local(folder))
            elif match := unfinished.fullmatch(folder.name):
                sure = match["machine"] == machine() or (match["machine"] is not None and is_local(folder))
                _remove_unused(folder, sure, _seconds_since_a_change(folder) > ABANDONED_SECONDS)


def _remove_unused(folder: Path, sure: bool, abandoned: bool = False, own_users_count: bool = True) -> bool:
    """Removes a folder if nobody uses it. Returns whether it is gone.

    ``sure``       whether a free lock proves that nobody uses it.
    ``abandoned``  whether its age proves it, if the lock is not held.
    """
    with alone_in(folder, own_users_count) as alone:
        if (abandoned and alone is not False) or (sure and alone):
            shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()


def _seconds_since_a_change(folder: Path) -> float:
    latest = 0.0
    for parent, _, files in os.walk(folder):
        for path in (parent, *(os.path.join(parent, file) for file in files)):
            with contextlib.suppress(OSError):
                latest = max(latest, os.lstat(path).st_mtime)
    return time.time() - latest
