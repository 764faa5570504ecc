"""A copy of a whole study database, taken while it is in use: of a SQLite file or of a journal."""

from __future__ import annotations

import os
import shlex
import shutil
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from optuna.storages import RDBStorage

from mdaf.secrets import masked
from mdaf.sweeper.storage import sqlite_file
from mdaf.sweeper.storage.opening import StorageError, open_storage
from mdaf.sweeper.storage.optuna_internals import study_id_of
from mdaf.sweeper.storage.retrying import wait_for


@dataclass(frozen=True)
class Backup:
    """The file that was written, and what it holds."""

    file: Path
    studies: int
    trials: int


def back_up(url: str, target: str | Path) -> Backup:
    """Copies the database at ``url`` to the file ``target``, as of one moment.

    A target that is a folder, or ends with ``/``, gets a file with the database's name; the folder is made.

    StorageError if something is there already, and for a server, with the server's own command. The copy is checked
    before it gets its name, so what has that name is whole.
    """
    storage = open_storage(url, create=False, read_only=True)
    file = _file_of(url)
    is_folder = Path(target).is_dir() or str(target).endswith(("/", os.sep))
    if isinstance(storage, RDBStorage) and storage.engine.dialect.name != "sqlite":
        server = storage.engine.url
        dump = Path(target, f"{server.database}.dump") if is_folder else Path(target)
        typed = shlex.join(_command(server, dump))
        raise StorageError(f"{masked(url)} is a server, which has its own command: {typed}")
    if file is None:
        raise StorageError(f"{masked(url)} is no file that could be copied")
    copy = Path(target, file.name) if is_folder else Path(target)
    with _whole(copy) as draft:
        if isinstance(storage, RDBStorage):
            engine = storage.engine
            wait_for(storage.url, lambda: _copy_sqlite(engine, draft))
        else:
            _copy_journal(file, draft)
        kind = "journal" if url.startswith("journal:") else "sqlite"
        copied = open_storage(f"{kind}:///{draft.absolute()}", create=False, read_only=True)
        studies = copied.get_all_studies()
        trials = sum(copied.get_n_trials(study_id_of(study)) for study in studies)
        if isinstance(copied, RDBStorage):
            copied.remove_session()
            copied.engine.dispose()
    return Backup(copy, len(studies), trials)


def _command(url: sa.URL, target: Path) -> list[str]:
    """The server's own command, which asks for the password or finds it where its programs look for one."""
    if url.get_backend_name() == "postgresql":
        name = sa.URL.create("postgresql", url.username, None, url.host, url.port, url.database).render_as_string()
        return ["pg_dump", "--format=custom", f"--file={target}", f"--dbname={name}"]
    who = {"host": url.host, "port": url.port, "user": url.username}
    where = [f"--{name}={value}" for name, value in who.items() if value]
    return ["mysqldump", "--single-transaction", f"--result-file={target}", *where, "--password", url.database or ""]


def _file_of(url: str) -> Path | None:
    if url.startswith("journal:"):
        return Path(url.removeprefix("journal:///"))
    return sqlite_file.file_of(sa.make_url(url))


@contextmanager
def _whole(file: Path) -> Iterator[Path]:
    """A name to write to, which becomes ``file`` when all is well; StorageError if that is there."""
    if file.exists():
        raise StorageError(f"{file} is there already, and is not overwritten; name another file")
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}")
    try:
        yield draft
        try:
            os.link(draft, file)  # which a file that came to be there meanwhile forbids
        except FileExistsError:
            raise StorageError(f"{file} is there already, and is not overwritten; name another file") from None
        except OSError:  # a file system without hard links
            os.rename(draft, file)
    finally:
        for suffix in ("", "-wal", "-shm", "-journal"):
            draft.with_name(draft.name + suffix).unlink(missing_ok=True)


def _copy_sqlite(engine: sa.Engine, draft: Path) -> None:
    """By SQLite's own means, which reads one state of it, whatever is written meanwhile."""
    with engine.connect() as connection, closing(sqlite3.connect(draft)) as copy:
        source = connection.connection.driver_connection
        assert isinstance(source, sqlite3.Connection)
        source.backup(copy)
        [[found]] = copy.execute("PRAGMA quick_check(1)").fetchall()
    if found != "ok":
        raise StorageError(f"the database is damaged, so its copy is not kept: {found}")


def _copy_journal(file: Path, draft: Path) -> None:
    """As far as its last whole line; lines are only ever added."""
    shutil.copyfile(file, draft)
    content = draft.read_bytes()
    os.truncate(draft, content.rfind(b"\n") + 1)
