"""The file of a SQLite study database: finds and creates it, reads it without write permission, tidies it at exit."""

from __future__ import annotations

import atexit
import os
import shutil
import sqlite3
import tempfile
import uuid
import weakref
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, unquote

import sqlalchemy as sa
from optuna.storages import BaseStorage, RDBStorage
from sqlalchemy import event, exc

from mdaf.sweeper.storage.optuna_internals import TABLE_NAMES, without_cache
from mdaf.sweeper.storage.same_file import SameFile

LOG_SUFFIXES = ("-wal", "-journal")  # what was written and is not in the file itself yet

# Recent writes are in FILE-wal until SQLite moves them to the file. These limits keep FILE-wal small.
WAL_PAGES = 250
WAL_BYTES = 4 * 1024 * 1024
ON_CONNECT = (
    # In WAL mode nothing is lost if a process is killed. If the power fails, the last commits may be lost: a trial is
    # then RUNNING again, and is given up later. A commit takes a tenth of the time of one with a sync.
    "PRAGMA synchronous=NORMAL",
    f"PRAGMA wal_autocheckpoint={WAL_PAGES}",
    f"PRAGMA journal_size_limit={WAL_BYTES}",
)
ON_CONNECT_TO_READ = ("PRAGMA query_only=ON",)
_PROGRAMS = sa.text(  # views and virtual tables with the name of a table of Optuna, and triggers on such a table
    "SELECT type, name FROM sqlite_master WHERE (type = 'trigger' AND tbl_name IN :tables) "
    "OR (name IN :tables AND (type = 'view' OR sql LIKE 'CREATE VIRTUAL%')) ORDER BY type, name"
).bindparams(sa.bindparam("tables", TABLE_NAMES, expanding=True))

_opened: weakref.WeakSet[RDBStorage] = weakref.WeakSet()  # ``settle`` is called for these when the process ends


def file_of(parsed: sa.URL) -> Path | None:
    """The file that a SQLite URL names; None for a database in memory."""
    name = parsed.database or ":memory:"
    if name.startswith("file:"):
        name = unquote(name.removeprefix("file:").partition("?")[0])
        if parsed.query.get("mode") == "memory":
            return None
    return None if name == ":memory:" else Path(name)


def program_in(connection: sa.Connection) -> str | None:
    """A view or a trigger on the tables of studies, such as ``the view trials``; None if there is none.

    Optuna creates none. SQLite would run it at each query or change. It might compute for ever, which no signal could
    end, or undo what is written.
    """
    found = connection.execute(_PROGRAMS).first()
    return None if found is None else f"the {'view' if found.type == 'table' else found.type} {found.name}"


def is_writable(file: Path) -> bool:
    """Whether SQLite can write the file, and the files -wal and -shm next to it."""
    logs = [path for suffix in ("-wal", "-shm") if (path := file.with_name(file.name + suffix)).exists()]
    return all(os.access(path, os.W_OK) for path in (file, file.parent, *logs))


def create(parsed: sa.URL, file: Path) -> None:
    """Creates the database under a temporary name, then gives it its name by a hard link.

    So other processes, which may create or read it at the same time, see either no file or a complete one. On a file
    system without hard links nothing is created here; the caller then creates the tables in place.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}")
    try:
        storage = RDBStorage(literal(parsed.set(database=str(draft), query={}).render_as_string(hide_password=False)))
        with storage.engine.connect() as connection:
            connection.execute(sa.text("PRAGMA journal_mode=WAL"))
        storage.remove_session()
        storage.engine.dispose()
        with suppress(OSError):  # the file exists, or hard links are not possible
            os.link(draft, file)
    finally:
        for suffix in ("", "-wal", "-shm", "-journal"):
            draft.with_name(draft.name + suffix).unlink(missing_ok=True)


def check_same_file(engine: sa.Engine) -> None:
    """Lets the engine of an existing database use only the file that is there now.

    Any later use raises FileGoneError if the file is no longer at its path. SQLite would create an empty one there.
    """
    if (file := file_of(engine.url)) is None:
        return
    same = SameFile(file)
    for name in ("do_connect", "checkout"):
        event.listen(engine, name, lambda *_: same.check())


def literal(url: str) -> str:
    """``url`` with its braces doubled, because Optuna formats it. A password or a path may contain braces."""
    return url.replace("{", "{{").replace("}", "}}")


def readable(parsed: sa.URL) -> sa.URL:
    """A URL for reading a file if the file or its folder cannot be written.

    Without files -wal and -journal next to it, the file is read as one that does not change. If another process is
    writing at this moment, SQLite can share its lock. Otherwise a writer has left such files behind, and reading them
    requires writing. Then a temporary copy is read, which is deleted when this process ends.
    """
    file = file_of(parsed)
    if file is None or is_writable(file) or (parsed.database or "").startswith("file:"):
        return parsed
    logs = [file.with_name(file.name + suffix) for suffix in LOG_SUFFIXES]
    left = [path for path in logs if path.exists() and path.stat().st_size]
    if not left:
        return _as_uri(parsed, file, immutable="1")
    if _is_shared(file):
        return _as_uri(parsed, file)
    folder = tempfile.mkdtemp(prefix="studies-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for path in (file, *left):
        shutil.copyfile(path, Path(folder) / path.name)
    return parsed.set(database=str(Path(folder) / file.name))


def _as_uri(parsed: sa.URL, file: Path, **query: str) -> sa.URL:
    name = "file:" + quote(str(file.absolute()))
    return parsed.set(database=name, query={**parsed.query, **query, "mode": "ro", "uri": "true"})


def _is_shared(file: Path) -> bool:
    """Whether SQLite can read the file and its file -wal, because a process that writes them shares its lock."""
    try:
        connection = sqlite3.connect(f"file:{quote(str(file.absolute()))}?mode=ro", uri=True)
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        finally:
            connection.close()
    except sqlite3.Error:
        return False
    return True


# ---- at the end of the process


def settle_at_exit(storage: RDBStorage) -> None:
    """Calls ``settle`` for the storage when this process ends."""
    _opened.add(storage)


def settle(storage: BaseStorage) -> None:
    """Moves the contents of FILE-wal to the file and closes it, so that a plain copy of the file is complete.

    While other processes use the file, part of it may stay in FILE-wal. The last process moves the rest.
    """
    storage = without_cache(storage)
    if not isinstance(storage, RDBStorage) or storage not in _opened:
        return
    storage.remove_session()
    with suppress(exc.SQLAlchemyError, OSError), storage.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout=200")
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    storage.engine.dispose()


@atexit.register
def _settle_all() -> None:
    for storage in list(_opened):
        with suppress(Exception):  # nothing can be done about an error at the end of the process
            settle(storage)
