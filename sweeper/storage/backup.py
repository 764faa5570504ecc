"""Copies a whole study database while it is in use: a SQLite file or a journal. ``mdaf-study backup`` calls it."""

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

from mdaf.messages.secrets import masked
from mdaf.sweeper.storage import sqlite_file
from mdaf.sweeper.storage.opening import StorageError, open_storage
from mdaf.sweeper.storage.optuna_internals import study_id_of
from mdaf.sweeper.storage.retrying import wait_for


@dataclass(frozen=True)
class Backup:
    """The file that was written, and the numbers of studies and trials in it."""

    file: Path
    studies: int
    trials: int


def back_up(url: str, target: str | Path) -> Backup:
    """Copies the database at ``url`` to the file ``target``. The copy shows the state of one moment.

    If ``target`` is a folder or ends with ``/``, the copy is a file in that folder with the database's name. Missing
    folders are created. The copy is checked before it gets its final name, so a file of that name is always complete.

    Raises StorageError if the file exists, and for a server, whose own backup command the message contains.
    """
    storage = open_storage(url, create=False, read_only=True)
    file = _file_of(url)
    is_folder = Path(target).is_dir() or str(target).endswith(("/", os.sep))
    if isinstance(storage, RDBStorage) and storage.engine.dialect.name != "sqlite":
        server = storage.engine.url
        dump = Path(target, f"{server.database}.dump") if is_folder else Path(target)
        command = shlex.join(_command(server, dump))
        raise StorageError(f"{masked(url)} is a server, which has its own command: {command}")
    if file is None:
        raise StorageError(f"{masked(url)} is no file that could be copied")
    copy = Path(target, file.name) if is_folder else Path(target)
    with _published_when_done(copy) as draft:
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
    """The server's own backup command. It asks for the password, or reads it from the server's usual files."""
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
def _published_when_done(file: Path) -> Iterator[Path]:
    """A temporary name to write to, which is renamed to ``file`` at the end of the context, unless an error is raised.

    Raises StorageError if ``file`` exists.
    """
    if file.exists():
        raise StorageError(f"{file} is there already, and is not overwritten; name another file")
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}")
    try:
        yield draft
        try:
            os.link(draft, file)  # fails if the file was created in the meantime
        except FileExistsError:
            raise StorageError(f"{file} is there already, and is not overwritten; name another file") from None
        except OSError:  # a file system without hard links
            os.rename(draft, file)
    finally:
        for suffix in ("", "-wal", "-shm", "-journal"):
            draft.with_name(draft.name + suffix).unlink(missing_ok=True)


def _copy_sqlite(engine: sa.Engine, draft: Path) -> None:
    """Copies with SQLite's backup function, which reads one consistent state, whatever is written in the meantime."""
    with engine.connect() as connection, closing(sqlite3.connect(draft)) as copy:
        source = connection.connection.driver_connection
        assert isinstance(source, sqlite3.Connection)
        source.backup(copy)
        [[verdict]] = copy.execute("PRAGMA quick_check(1)").fetchall()
    if verdict != "ok":
        raise StorageError(f"the database is damaged, so its copy is not kept: {verdict}")


def _copy_journal(file: Path, draft: Path) -> None:
    """Copies a journal up to its last complete line. Lines are only ever appended."""
    shutil.copyfile(file, draft)
    content = draft.read_bytes()
    os.truncate(draft, content.rfind(b"\n") + 1)
