"""Opens a study database by its URL: a SQLite file, a server, or Optuna's journal file. Every command starts here.

``sqlite:///runs/studies.db`` is relative to the working directory, ``sqlite:////srv/studies.db`` is absolute, as in
SQLAlchemy. The same holds for ``journal:///``. No message contains a password (``mdaf.messages.secrets.masked``).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import sqlalchemy as sa
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from sqlalchemy import exc

from mdaf.errors import UserError
from mdaf.extras import install
from mdaf.messages.secrets import masked, masked_text
from mdaf.sweeper.storage import sqlite_file
from mdaf.sweeper.storage.call_watch import pool_events
from mdaf.sweeper.storage.database_errors import cause_of, is_away
from mdaf.sweeper.storage.idempotent import ServerStorage, SQLiteStorage
from mdaf.sweeper.storage.journal import open_journal
from mdaf.sweeper.storage.retrying import StorageAwayError, wait_for

LOCK_TIMEOUT_SECONDS = 5  # SQLite's own wait, during which signals are not handled; then the call is repeated
CONNECT_TIMEOUT_SECONDS = 10
CREATION_ATTEMPTS = 12

_EXTRAS = {"psycopg": "postgres", "psycopg2": "postgres", "MySQLdb": "mysql", "pymysql": "mysql"}  # driver -> extra
_SUGGESTED = {"psycopg2": "postgresql+psycopg://", "MySQLdb": "mysql+pymysql://"}  # suggested instead of these
# A connection to a machine that is gone counts as lost after about 40 s. tcp_user_timeout is in milliseconds, all other
# times are in seconds.
_KEEPALIVE = {
    "keepalives": 1,
    "keepalives_idle": 20,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 40_000,
}
_ANSWER_TIMEOUT = {"read_timeout": 60, "write_timeout": 60}
_CONNECT_ARGUMENTS: dict[str, dict[str, int]] = {
    "psycopg": _KEEPALIVE,
    "psycopg2": _KEEPALIVE,
    "pymysql": _ANSWER_TIMEOUT,
    "mysqldb": _ANSWER_TIMEOUT,
}
# Without this, a process that freezes within a transaction would hold its locks, and so block the sweep, for ever.
_IDLE_IN_TRANSACTION = "SET idle_in_transaction_session_timeout = '120s'"


class StorageError(UserError):
    """A study database cannot be opened. The message is one line without a password."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.splitlines()))  # a URL may contain line breaks


def open_storage(url: str, create: bool, *, read_only: bool = False) -> BaseStorage:
    """The storage at ``url``.

    ``create``     creates what is missing: the parent folder, the file, the tables. Several processes may do so at the
                   same time. Without it nothing is created. A new SQLite file is in WAL mode.
    ``read_only``  opens the database so that SQLite itself refuses to write.

    Raises ``StorageError`` for a bad URL, a missing driver, file or schema, an unreachable server, a file that is not a
    study database, and a database of another version of Optuna. Raises ``ValueError`` if both options are set.
    """
    if create and read_only:
        raise ValueError("create and read_only exclude each other")
    with _storage_errors(url):
        if url.startswith("journal:"):
            return _open_journal(url, create=create, read_only=read_only)
        parsed = _parsed(url)
        # SQLite's file is checked or created once, before any waiting: waiting does not make a missing file appear.
        if parsed.get_backend_name() == "sqlite":
            _check_sqlite_file(parsed, url, create=create, read_only=read_only)
            parsed = sqlite_file.readable(parsed) if read_only else parsed
        storage = wait_for(parsed.render_as_string(hide_password=False), lambda: _open(parsed, create, read_only))
        if isinstance(storage, SQLiteStorage) and not read_only:
            sqlite_file.settle_at_exit(storage)
        return storage


def open_for_pages(url: str) -> BaseStorage:
    """The storage at ``url``, opened for reading and writing; only for reading if its file cannot be written."""
    file = Path(url.removeprefix("journal:///")) if url.startswith("journal:") else sqlite_file.file_of(_parsed(url))
    is_file = url.startswith("journal:") or _parsed(url).get_backend_name() == "sqlite"
    return open_storage(url, create=False, read_only=is_file and file is not None and not sqlite_file.is_writable(file))


def _open(parsed: sa.URL, create: bool, read_only: bool) -> RDBStorage:
    options = _engine_options(parsed, read_only=read_only)
    if _has_schema(parsed, options):
        return _storage(parsed, options, skip_table_creation=True)
    if create:
        return _create_schema(parsed, options)
    where = masked(parsed.render_as_string(hide_password=True))
    raise StorageError(
        f"{where} holds no studies: another program's database, an empty one, or one of Optuna before 1.0"
    )


def _parsed(url: str) -> sa.URL:
    try:
        parsed = sa.make_url(url)
        if parsed.drivername.replace("+", ".").count(".") > 1:  # SQLAlchemy would raise an obscure error later
            raise ValueError("more than a database and its driver")
        return parsed
    except (exc.ArgumentError, ValueError):  # not repeated: its text may contain parts of a password
        hint = "" if "://" in url else f"; for a SQLite file write sqlite:///{url}"
        raise StorageError(f"{masked(url)!r} is not a storage URL such as sqlite:///runs/studies.db{hint}") from None


def _open_journal(url: str, *, create: bool, read_only: bool) -> JournalStorage:
    path = Path(url.removeprefix("journal:///"))
    if not url.startswith("journal:///") or path == Path():
        raise StorageError(f"{url!r} names no file: expected journal:///relative/path or journal:////absolute/path")
    if not path.is_file():
        if not create or path.exists():
            raise StorageError(f"{url}: {'not a file' if path.exists() else 'there is no such file'}: {path}")
        path.parent.mkdir(parents=True, exist_ok=True)
    elif not _begins_with(path, b"{"):
        raise StorageError(f"{url}: {path} is not a journal of Optuna")
    elif not read_only and not sqlite_file.is_writable(path):
        raise StorageError(f"{url}: {path} or its folder is read-only, and a sweep writes there")
    try:
        return open_journal(path, url)
    except (ValueError, LookupError, TypeError, AssertionError, AttributeError):
        raise StorageError(f"{url}: {path} is not a journal of Optuna") from None


def _begins_with(path: Path, start: bytes) -> bool:
    """Whether the file begins with ``start``, or is empty."""
    with path.open("rb") as file:
        return file.read(len(start)) in (start, b"")


def _check_sqlite_file(parsed: sa.URL, url: str, *, create: bool, read_only: bool) -> None:
    """Raises StorageError if SQLite's file cannot be used. Creates a missing file with its tables, if ``create``."""
    file = sqlite_file.file_of(parsed)
    if file is None:
        if not create:
            raise StorageError(f"{masked(url)} is a database in memory: it ends with its process and holds no studies")
        return
    if file.is_dir():
        raise StorageError(f"{masked(url)}: {file} is a folder, not a database")
    if not file.exists():
        if not create:
            raise StorageError(
                f"{masked(url)}: there is no such file: {file}; expected the folder in which the sweep was typed, or "
                "the URL of its database"
            )
        sqlite_file.create(parsed, file)
    elif not os.access(file, os.R_OK):
        raise StorageError(f"{masked(url)}: {file} can't be read: permission denied")
    elif not read_only and not sqlite_file.is_writable(file):
        what = file if not os.access(file, os.W_OK) else f"its folder {file.absolute().parent}"
        raise StorageError(
            f"{masked(url)}: {what} is read-only, and a sweep writes there; make it writable, or name another "
            "database with sweep.storage=sqlite:///FILE (mdaf-study can ask this one)"
        )


def _engine_options(parsed: sa.URL, *, read_only: bool) -> dict[str, Any]:
    kind, driver = parsed.get_backend_name(), parsed.get_driver_name()
    statements: Sequence[str] = ()
    arguments: dict[str, int] = {}
    options: dict[str, Any] = {}
    if kind == "sqlite":
        statements = sqlite_file.ON_CONNECT_TO_READ if read_only else sqlite_file.ON_CONNECT
        arguments = {"timeout": LOCK_TIMEOUT_SECONDS}
    else:
        # A trial may take longer than the server keeps an idle connection, so a connection is checked before it is
        # used. A process keeps one connection, so that a hundred workers stay below a server's usual limit. Its threads
        # may open four more for a short time.
        options = {"pool_pre_ping": True, "pool_size": 1, "max_overflow": 4}
        statements = (_IDLE_IN_TRANSACTION,) if kind == "postgresql" else ()
        if driver in _CONNECT_ARGUMENTS:
            arguments = {"connect_timeout": CONNECT_TIMEOUT_SECONDS, **_CONNECT_ARGUMENTS[driver]}
    options["connect_args"] = {name: value for name, value in arguments.items() if name not in parsed.query}
    options["pool_events"] = [
        *pool_events(),
        *((_on_connect(statement), "connect") for statement in statements),
    ]
    return options


def _on_connect(statement: str) -> Callable[[Any, Any], None]:
    """A function for an engine's event ``connect``: it executes ``statement`` on each new connection."""

    def run(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute(statement)
        cursor.close()
        connection.commit()

    return run


def _has_schema(parsed: sa.URL, options: dict[str, Any]) -> bool:
    """Whether the database has Optuna's tables and their version. If so, opening it writes nothing."""
    engine = sa.create_engine(parsed, **options)
    try:
        with engine.connect() as connection:
            if parsed.get_backend_name() == "sqlite" and (program := sqlite_file.program_in(connection)):
                where = masked(parsed.render_as_string(hide_password=True))
                raise StorageError(
                    f"{where} holds {program}, which Optuna does not make and SQLite would run; drop it if it is yours"
                )
            tables = set(sa.inspect(connection).get_table_names())
            if not {"studies", "trials", "version_info", "alembic_version"} <= tables:
                return False
            return all(
                connection.execute(sa.text(f"SELECT 1 FROM {table}")).first() is not None
                for table in ("version_info", "alembic_version")
            )
    finally:
        engine.dispose()


def _create_schema(parsed: sa.URL, options: dict[str, Any]) -> RDBStorage:
    """Creates the tables. If another process creates one of them first, this one tries again and finds it."""
    for attempt in range(1, CREATION_ATTEMPTS):
        try:
            return _storage(parsed, options)
        except (exc.DBAPIError, StorageInternalError) as error:
            if is_away(error):
                raise  # ``wait_for`` waits and logs a warning
            time.sleep(0.05 * attempt)
    return _storage(parsed, options)


def _storage(parsed: sa.URL, options: dict[str, Any], **further: Any) -> RDBStorage:
    kind = SQLiteStorage if parsed.get_backend_name() == "sqlite" else ServerStorage
    url = sqlite_file.literal(parsed.render_as_string(hide_password=False))
    return kind(url, engine_kwargs=dict(options), **further)


@contextmanager
def _storage_errors(url: str) -> Iterator[None]:
    """Raises a ``StorageError`` of one line instead of any error of SQLAlchemy, of its drivers and of Optuna."""
    try:
        yield
    except (StorageError, StorageAwayError):
        raise
    except ImportError as error:
        driver = str(error.name)
        hint = install(_EXTRAS.get(driver, driver)) + (
            f" and write {_SUGGESTED[driver]}" if driver in _SUGGESTED else ""
        )
        raise StorageError(f"{masked(url)} needs the driver {error.name}, which isn't installed: {hint}") from None
    except exc.NoSuchModuleError:
        known = "sqlite, postgresql, mysql or journal"
        raise StorageError(f"{masked(url)}: unknown kind of storage {url.partition(':')[0]!r}; use {known}") from None
    except (exc.SQLAlchemyError, StorageInternalError) as error:
        cause = cause_of(error)
        reason = getattr(cause, "orig", None) or cause
        raise StorageError(f"{masked(url)} can't be opened: {_first_line(reason, url)}") from None
    except OSError as error:
        raise StorageError(f"{masked(url)} can't be opened: {_first_line(error, url)}") from None
    except RuntimeError as error:  # Optuna's check of the schema's version
        raise StorageError(f"{masked(url)}: {_first_line(error, url)}") from None


def _first_line(error: BaseException, url: str) -> str:
    """The first line of the error's message, without the URL's password in any form."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    text = masked_text(lines[0])
    with suppress(exc.ArgumentError, ValueError):
        if password := sa.make_url(url).password:
            for form in {str(password), quote(str(password), safe=""), quote_plus(str(password))}:
                text = text.replace(form, "***")
    return text
