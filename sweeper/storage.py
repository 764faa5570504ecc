"""Opens the database that holds the studies: SQLite, a server by URL, or Optuna's journal file.

``sqlite:///runs/studies.db`` is relative to the working directory and ``sqlite:////srv/studies.db`` absolute, as in
SQLAlchemy; ``journal:///`` follows the same rule. Nothing here prints a password: see ``masked``.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, unquote

import sqlalchemy as sa
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import event, exc

from sweeper.errors import UserError
from sweeper.patience import patient
from sweeper.reading import read_trials
from sweeper.secrets import masked, masked_text

LOCK_TIMEOUT_SECONDS = 60
CONNECT_TIMEOUT_SECONDS = 10
CREATION_ATTEMPTS = 12

_DRIVER_HINTS = {
    "psycopg": "pip install 'mdaf-sweep[postgres]'",
    "MySQLdb": "pip install 'mdaf-sweep[mysql]' and write mysql+pymysql://",
    "pymysql": "pip install 'mdaf-sweep[mysql]'",
}
_TAKES_CONNECT_TIMEOUT = {"psycopg", "psycopg2", "pymysql", "mysqldb"}


class StorageError(UserError):
    """A study database that can't be opened; the message is one line without a password."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.splitlines()))  # a URL may hold anything


class _PlainReading(RDBStorage):
    """Optuna's storage, which reads trials without building an object for each row."""

    def _get_trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        wanted = None if states is None else [state for state in TrialState if state in states]
        return read_trials(self.engine, study_id, wanted, included_trial_ids, trial_id_greater_than)


@patient
class ServerStorage(_PlainReading):
    """Optuna's storage on a database server, which may be away for a while."""


@patient
class SQLiteStorage(_PlainReading):
    """Optuna's storage on SQLite, safe for several processes.

    Optuna looks at a trial's state and then changes it, which other databases guard by ``SELECT ... FOR UPDATE``.
    SQLite has no such clause, so two processes can take the same waiting trial. Here the lock comes before the look.
    """

    def __init__(self, url: str, engine_kwargs: dict[str, Any] | None = None, **options: Any) -> None:
        super().__init__(url, engine_kwargs, **options)
        # In WAL mode this loses nothing when a process is killed, and at most the last commits when the power fails:
        # then a trial is RUNNING again, and reaped. A commit costs a tenth of what it does with a sync of its own.
        _on_every_connection(self, "PRAGMA synchronous=NORMAL")

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        # Any write takes the lock; it is held until the method of the base class commits, in this same session.
        lock = "UPDATE trials SET trial_id = trial_id WHERE trial_id = ?"
        try:
            self.scoped_session().connection().exec_driver_sql(lock, (trial_id,))
        except exc.SQLAlchemyError as error:
            self.remove_session()
            raise StorageInternalError(f"trial {trial_id} could not be locked") from error
        return super().set_trial_state_values(trial_id, state, values)


def open_storage(url: str, create: bool, *, read_only: bool = False) -> BaseStorage:
    """The storage at ``url``, with its schema.

    ``create`` makes what is missing: parent folder, file and tables; any number of processes may do so at once.
    Without it nothing is ever created. A SQLite file is put in WAL mode when created and waits a minute for locks;
    with ``read_only`` SQLite itself refuses to write.

    Raises ``StorageError`` for a bad URL, a missing driver, file or schema, an unreachable server, a file that is no
    study database, and one that another version of Optuna wrote.
    """
    if create and read_only:
        raise ValueError("create and read_only exclude each other")
    with _explained(url):
        if url.startswith("journal:"):
            return _open_journal(url, create)
        parsed = _parsed(url)
        if parsed.get_backend_name() == "sqlite":
            _check_sqlite_file(parsed, url, create)
        options = _engine_options(parsed)
        if _has_schema(parsed, options):
            storage = _kind(parsed)(_literal(url), engine_kwargs=options, skip_table_creation=True)
        elif create:
            storage = _create_schema(parsed, url, options)
        else:
            raise StorageError(
                f"{masked(url)} holds no studies: another program's database, an empty one, or one of Optuna before 1.0"
            )
        if read_only and parsed.get_backend_name() == "sqlite":
            _on_every_connection(storage, "PRAGMA query_only=ON")
        return storage


def _kind(parsed: sa.URL) -> type[RDBStorage]:
    return SQLiteStorage if parsed.get_backend_name() == "sqlite" else ServerStorage


def _parsed(url: str) -> sa.URL:
    try:
        parsed = sa.make_url(url)
        if parsed.drivername.replace("+", ".").count(".") > 1:  # SQLAlchemy itself stumbles over it, later
            raise ValueError("more than a database and its driver")
        return parsed
    except (exc.ArgumentError, ValueError):  # its text may hold parts of a password: not repeated
        hint = "" if "://" in url else f"; for a SQLite file write sqlite:///{url}"
        raise StorageError(f"{masked(url)!r} is not a storage URL such as sqlite:///runs/studies.db{hint}") from None


def _open_journal(url: str, create: bool) -> JournalStorage:
    path = Path(url.removeprefix("journal:///"))
    if not url.startswith("journal:///") or path == Path():
        raise StorageError(f"{url!r} names no file: expected journal:///relative/path or journal:////absolute/path")
    if not path.is_file():
        if not create or path.exists():
            raise StorageError(f"{url}: {'not a file' if path.exists() else 'there is no such file'}: {path}")
        path.parent.mkdir(parents=True, exist_ok=True)
    elif not _begins_with(path, b"{"):
        raise StorageError(f"{url}: {path} is not a journal of Optuna")
    try:
        return JournalStorage(JournalFileBackend(str(path)))
    except (ValueError, KeyError, TypeError):
        raise StorageError(f"{url}: {path} is not a journal of Optuna") from None


def _begins_with(path: Path, start: bytes) -> bool:
    """Whether the file begins so; an empty one may yet."""
    with path.open("rb") as file:
        return file.read(len(start)) in (start, b"")


def _sqlite_file(parsed: sa.URL) -> Path | None:
    """The file that a SQLite URL names; None for a database in memory."""
    name = parsed.database or ":memory:"
    if name.startswith("file:"):
        name = unquote(name.removeprefix("file:").partition("?")[0])
        if parsed.query.get("mode") == "memory":
            return None
    return None if name == ":memory:" else Path(name)


def _check_sqlite_file(parsed: sa.URL, url: str, create: bool) -> None:
    """Refuses what SQLite would silently create, or creates it whole."""
    file = _sqlite_file(parsed)
    if file is None:
        if not create:
            raise StorageError(f"{masked(url)} is a database in memory: it ends with its process and holds no studies")
        return
    if file.is_dir():
        raise StorageError(f"{masked(url)}: {file} is a folder, not a database")
    if file.exists():
        return
    if not create:
        raise StorageError(f"{masked(url)}: there is no such file: {file}")
    _create_sqlite_file(parsed, file)


def _create_sqlite_file(parsed: sa.URL, file: Path) -> None:
    """Makes the database under a temporary name, then links it into place.

    So processes that race to create it, or ask it meanwhile, see either nothing or all of it. Where the file system
    has no hard links nothing is left, and the schema is created in place.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}")
    try:
        storage = RDBStorage(_literal(parsed.set(database=str(draft), query={}).render_as_string(hide_password=False)))
        with storage.engine.connect() as connection:
            connection.execute(sa.text("PRAGMA journal_mode=WAL"))
        storage.remove_session()
        storage.engine.dispose()
        with suppress(OSError):  # it is there already, or can't be linked
            os.link(draft, file)
    finally:
        for suffix in ("", "-wal", "-shm", "-journal"):
            draft.with_name(draft.name + suffix).unlink(missing_ok=True)


def _literal(url: str) -> str:
    """Optuna takes a URL for a format string; braces in a password or a path are meant as they stand."""
    return url.replace("{", "{{").replace("}", "}}")


def _engine_options(parsed: sa.URL) -> dict[str, Any]:
    if parsed.get_backend_name() == "sqlite":
        return {} if "timeout" in parsed.query else {"connect_args": {"timeout": LOCK_TIMEOUT_SECONDS}}
    # A trial may outlast the server's patience with an idle connection, so one is checked before it is used.
    # A process keeps one, so that a hundred workers fit a server's usual limit; its threads may take more for a moment.
    options: dict[str, Any] = {"pool_pre_ping": True, "pool_size": 1, "max_overflow": 4}
    if parsed.get_driver_name() in _TAKES_CONNECT_TIMEOUT and "connect_timeout" not in parsed.query:
        options["connect_args"] = {"connect_timeout": CONNECT_TIMEOUT_SECONDS}
    return options


def _has_schema(parsed: sa.URL, options: dict[str, Any]) -> bool:
    """Whether Optuna's tables are there and stamped with their version: then opening them writes nothing."""
    engine = sa.create_engine(parsed, **options)
    try:
        with engine.connect() as connection:
            tables = set(sa.inspect(connection).get_table_names())
            if not {"studies", "trials", "version_info", "alembic_version"} <= tables:
                return False
            return all(
                connection.execute(sa.text(f"SELECT 1 FROM {table}")).first() is not None
                for table in ("version_info", "alembic_version")
            )
    finally:
        engine.dispose()


def _create_schema(parsed: sa.URL, url: str, options: dict[str, Any]) -> RDBStorage:
    """Creates the tables in place. A process that loses the race for one of them finds it when it tries again."""
    kind = _kind(parsed)
    for attempt in range(1, CREATION_ATTEMPTS):
        try:
            return kind(_literal(url), engine_kwargs=dict(options))
        except (exc.DBAPIError, StorageInternalError):
            time.sleep(0.05 * attempt)
    return kind(_literal(url), engine_kwargs=dict(options))


def _on_every_connection(storage: RDBStorage, statement: str) -> None:
    @event.listens_for(storage.engine, "connect")
    def execute(connection: Any, _record: Any) -> None:
        connection.execute(statement)

    storage.remove_session()
    storage.engine.dispose()  # the connections made so far don't know it


@contextmanager
def _explained(url: str) -> Iterator[None]:
    """Turns what SQLAlchemy, its drivers and Optuna raise into a ``StorageError`` of one line."""
    try:
        yield
    except StorageError:
        raise
    except ImportError as error:
        hint = _DRIVER_HINTS.get(error.name or "", f"pip install {error.name}")
        raise StorageError(f"{masked(url)} needs the driver {error.name}, which isn't installed: {hint}") from None
    except exc.NoSuchModuleError:
        known = "sqlite, postgresql, mysql or journal"
        raise StorageError(f"{masked(url)}: unknown kind of storage {url.partition(':')[0]!r}; use {known}") from None
    except (exc.SQLAlchemyError, StorageInternalError) as error:
        cause = error.__cause__ if isinstance(error, StorageInternalError) else error
        reason = getattr(cause, "orig", None) or cause or error
        raise StorageError(f"{masked(url)} can't be opened: {_without_password(reason, url)}") from None
    except OSError as error:
        raise StorageError(f"{masked(url)} can't be opened: {_without_password(error, url)}") from None
    except RuntimeError as error:  # Optuna's check of the schema's version
        raise StorageError(f"{masked(url)}: {_without_password(error, url)}") from None


def _without_password(error: BaseException, url: str) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    text = masked_text(lines[0])
    with suppress(exc.ArgumentError, ValueError):
        if password := sa.make_url(url).password:
            for form in {str(password), quote(str(password), safe=""), quote_plus(str(password))}:
                text = text.replace(form, "***")
    return text
