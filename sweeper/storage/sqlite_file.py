"""The file of a SQLite database: found, created whole, read where it may not be written, settled when all is done."""

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

# Recent writes lie in FILE-wal until they are moved into the file. The file of a sweep should not lag far behind, and
# what lies beside it stay small.
WAL_PAGES = 250
WAL_BYTES = 4 * 1024 * 1024
ON_CONNECT = (
    # In WAL mode this loses nothing when a process is killed, and at most the last commits when the power fails:
    # then a trial is RUNNING again, and reaped. A commit costs a tenth of what it does with a sync of its own.
    "PRAGMA synchronous=NORMAL",
    f"PRAGMA wal_autocheckpoint={WAL_PAGES}",
    f"PRAGMA journal_size_limit={WAL_BYTES}",
)
ON_CONNECT_TO_READ = ("PRAGMA query_only=ON",)
_PROGRAMS = sa.text(  # what is named as a table of Optuna's and computes its rows; what is done at each change of one
    "SELECT type, name FROM sqlite_master WHERE (type = 'trigger' AND tbl_name IN :tables) "
    "OR (name IN :tables AND (type = 'view' OR sql LIKE 'CREATE VIRTUAL%')) ORDER BY type, name"
).bindparams(sa.bindparam("tables", TABLE_NAMES, expanding=True))

_opened: weakref.WeakSet[RDBStorage] = weakref.WeakSet()  # to be settled when the process ends


def file_of(parsed: sa.URL) -> Path | None:
    """The file that a SQLite URL names; None for a database in memory."""
    name = parsed.database or ":memory:"
    if name.startswith("file:"):
        name = unquote(name.removeprefix("file:").partition("?")[0])
        if parsed.query.get("mode") == "memory":
            return None
    return None if name == ":memory:" else Path(name)


def program_in(connection: sa.Connection) -> str | None:
    """A view or a trigger that stands in the way of a study's tables, as ``the view trials``; None if none does.

    Optuna makes none. SQLite would run it at each question or change: it may compute without end, which no signal
    ends, or take back what was written.
    """
    found = connection.execute(_PROGRAMS).first()
    return None if found is None else f"the {'view' if found.type == 'table' else found.type} {found.name}"


def is_writable(file: Path) -> bool:
    """Whether SQLite can write the file, and those that it makes beside it to do so."""
    logs = [path for suffix in ("-wal", "-shm") if (path := file.with_name(file.name + suffix)).exists()]
    return all(os.access(path, os.W_OK) for path in (file, file.parent, *logs))


def create(parsed: sa.URL, file: Path) -> None:
    """Makes the database under a temporary name, then links it into place.

    So processes that race to create it, or ask it meanwhile, see either nothing or all of it. Where the file system
    has no hard links nothing is left, and the schema is created in place.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}")
    try:
        storage = RDBStorage(literal(parsed.set(database=str(draft), query={}).render_as_string(hide_password=False)))
        with storage.engine.connect() as connection:
            connection.execute(sa.text("PRAGMA journal_mode=WAL"))
        storage.remove_session()
        storage.engine.dispose()
        with suppress(OSError):  # it is there already, or can't be linked
            os.link(draft, file)
    finally:
        for suffix in ("", "-wal", "-shm", "-journal"):
            draft.with_name(draft.name + suffix).unlink(missing_ok=True)


def stay(engine: sa.Engine) -> None:
    """Has the engine of a database that is there use no other file than the one that is there now.

    FileGoneError, whenever it is to be used, if that is not at its place; SQLite would make an empty one there.
    """
    if (file := file_of(engine.url)) is None:
        return
    same = SameFile(file)
    for name in ("do_connect", "checkout"):
        event.listen(engine, name, lambda *_: same.check())


def literal(url: str) -> str:
    """Optuna takes a URL for a format string; braces in a password or a path are meant as they stand."""
    return url.replace("{", "{{").replace("}", "}}")


def readable(parsed: sa.URL) -> sa.URL:
    """The URL by which a file can be read that may not be written, or whose folder may not.

    A file with nothing beside it is read as one that does not change. Where somebody writes it at this moment SQLite
    shares their lock. What a writer left beside it can be read by writing only: then a copy of all is read, which goes
    when this process ends.
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
    """Whether the file can be read together with what lies beside it, by way of a writer's lock."""
    try:
        connection = sqlite3.connect(f"file:{quote(str(file.absolute()))}?mode=ro", uri=True)
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        finally:
            connection.close()
    except sqlite3.Error:
        return False
    return True


# ---- the end


def settle_at_exit(storage: RDBStorage) -> None:
    """Has the file hold everything once this process is over."""
    _opened.add(storage)


def settle(storage: BaseStorage) -> None:
    """Moves what lies beside the file into it and lets go of it, so that a plain copy of the file is whole.

    Where other processes use the file, as much is moved as they allow; the last one moves the rest.
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
        with suppress(Exception):  # the process ends, whatever becomes of it
            settle(storage)
