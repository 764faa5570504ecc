"""Where compiled kernels are kept between processes: beside the source, in the user's home, else in a temporary folder.

Numba, Triton and torch each choose a folder of their own, and end the process where none of them can be written to: an
installed package in a container has no home and no right to write beside its source.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import shutil
import stat
import tempfile
from functools import cache
from pathlib import Path

log = logging.getLogger(__name__)


def name_caches() -> None:
    """Names temporary folders to Triton and torch where their own, in the user's home, cannot be made; before either is
    imported. Who has named some keeps them."""
    if not hasattr(os, "getuid"):  # Windows
        return
    if not any(os.environ.get(name) for name in ("LOGNAME", "USER", "LNAME", "USERNAME")) and _home_of_user() is None:
        os.environ["LOGNAME"] = str(os.getuid())  # torch names a folder after the user, whom the system may not know
    home = Path(os.environ.get("TRITON_HOME") or os.environ.get("HOME") or _home_of_user() or "/nonexistent")
    if _can_be_made(home / ".triton" / "cache") or (folder := temporary_folder()) is None:
        return
    for name, kept in {"TRITON_CACHE_DIR": "triton", "TORCHINDUCTOR_CACHE_DIR": "inductor"}.items():
        os.environ.setdefault(name, str(folder / kept))


@cache
def temporary_folder() -> Path | None:
    """A folder for what is compiled that nobody but this user may read or write: what lies there is run. It stays for
    the user's next process, unless somebody else has taken its name. None where none can be made."""
    try:
        parent = Path(tempfile.gettempdir()).resolve()
        if parent == Path.cwd():  # what Python chooses where there is no other: not ours to litter
            return None
        folder = parent / f"mdaf-sweep-{os.getuid()}"
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        if not _is_private(folder):
            folder = Path(tempfile.mkdtemp(prefix="mdaf-sweep-"))
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
    except OSError:
        return None
    log.info("compiled kernels are kept in %s: neither the package's folder nor the user's home takes them", folder)
    return folder


def _is_private(folder: Path) -> bool:
    found = os.lstat(folder)
    mine = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
    return mine and os.access(folder, os.W_OK | os.X_OK)


def _home_of_user() -> str | None:
    import pwd  # not on Windows

    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return None


def _can_be_made(folder: Path) -> bool:
    """Whether a folder is there, or could be, and can be written to."""
    there = next(path for path in (folder, *folder.parents) if os.path.exists(path))
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)
