"""Folders for what is not finished yet: gone afterwards, and those of processes that were killed go with the next."""

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

from mdaf.data.store.folder_locks import Hold, alone_in, hold, is_local, machine

log = logging.getLogger(__name__)

ABANDONED_SECONDS = 86_400  # since anything in it changed; for one whose process cannot be asked for from here
STORES = r"[a-z_]+-[0-9a-f]{12}"  # names of stores
_UNFINISHED = r"\.(?:{of})-(?:(?P<machine>[0-9a-f]{{8}})-)?[a-z0-9_]{{8}}"
_REPLACED = r"\.(?:{of})-(?:replaced|damaged)-[a-z0-9_]{{8}}"  # the second was the word of an earlier version


@contextmanager
def scratch(parent: Path, name: str) -> Iterator[Path]:
    """A private folder in ``parent``, where what will be called ``name`` is made; OSError if it cannot be made.

    If another folder has taken its place when this ends, the other one stays as long as somebody uses it.
    """
    parent.mkdir(parents=True, exist_ok=True)
    sweep(parent, re.escape(name))
    folder, lock = _made(parent, name)
    made = os.stat(folder)
    try:
        yield folder
    finally:
        if lock is not None:
            lock.release()
        with contextlib.suppress(OSError):  # it has another name now, or is gone
            if os.path.samestat(os.stat(folder), made):
                shutil.rmtree(folder, ignore_errors=True)
            else:
                _remove_unused(folder, sure=is_local(folder))


def _made(parent: Path, name: str) -> tuple[Path, Hold | None]:
    """A new folder and its lock."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f".{name}-{machine()}-", dir=parent))
        lock = hold(folder)
        with contextlib.suppress(FileNotFoundError):  # gone: somebody who swept came before the lock
            if lock is None or os.path.samestat(os.fstat(lock.descriptor), os.stat(folder)):
                return folder, lock
        if lock is not None:
            lock.release()


def set_aside(folder: Path, name: str) -> None:
    """Takes away a folder that another one has replaced, or keeps it under another name while another process may use
    it: what this one has mapped stays readable."""
    if folder.is_symlink():  # what it names is not ours
        folder.unlink()
        return
    kept = Path(tempfile.mkdtemp(prefix=f".{name}-replaced-", dir=folder.parent))
    folder.rename(kept)
    if not _remove_unused(kept, sure=is_local(kept), own_users_count=False):
        log.warning("%s, which was replaced, is kept for those who may still read it", kept)


def sweep(parent: Path, of: str = STORES) -> None:
    """Removes what dead processes left in ``parent``; ``of`` is a pattern of the names of what they made.

    Never that of a process that lives, on whatever machine: it holds a lock, and where the locks of another machine may
    not be seen here, a day must have passed without any change.
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
    """Removes a folder that nobody uses; whether it is gone.

    ``sure``       whether a lock that nobody holds says so.
    ``abandoned``  whether its age says so, unless a lock says otherwise.
    """
    with alone_in(folder, own_users_count) as alone:
        if (abandoned and alone is not False) or (sure and alone):
            shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()


def _seconds_since_a_change(folder: Path) -> float:
    newest = 0.0
    for place, _, files in os.walk(folder):
        for path in (place, *(os.path.join(place, file) for file in files)):
            with contextlib.suppress(OSError):
                newest = max(newest, os.lstat(path).st_mtime)
    return time.time() - newest
