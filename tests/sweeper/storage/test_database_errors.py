"""Which errors of a database are waited for: told by the code of the driver, where there is one."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest
from optuna.exceptions import StorageInternalError
from sqlalchemy import exc

from mdaf.sweeper.storage.database_errors import is_away, is_conflict, is_refusal, reason_of


class DriverError(Exception):
    """Stands in for an error of psycopg (``sqlstate``), psycopg2 (``pgcode``) or SQLite (``sqlite_errorname``)."""

    def __init__(self, *arguments: Any, **codes: str) -> None:
        super().__init__(*arguments)
        for name, code in codes.items():
            setattr(self, name, code)


def error(*arguments: Any, kind: type[exc.DBAPIError] = exc.OperationalError, **codes: str) -> StorageInternalError:
    """As Optuna raises what SQLAlchemy makes of a driver's error."""
    raised = StorageInternalError("An exception is raised during the commit.")
    raised.__cause__ = kind("SELECT 1", {}, DriverError(*arguments, **codes))
    return raised


AWAY = [
    *(error("", sqlstate=code) for code in ("57P01", "57P02", "57P03", "53300", "53100", "08006", "40001", "40P01")),
    *(error("", pgcode=code) for code in ("57P01", "25P03", "55P03")),
    *(error(code, "") for code in (2003, 2006, 2013, 1040, 1053, 1205, 1213)),
    *(error("", sqlite_errorname=f"SQLITE_{name}") for name in ("BUSY", "BUSY_SNAPSHOT", "IOERR_WRITE", "FULL")),
    error(0, "", kind=exc.InterfaceError),  # PyMySQL's, of a connection that is closed
    error("", sqlstate="25P02", kind=exc.InternalError),
    error("connection failed: FATAL:  the database system is starting up"),
    error("connection failed: FATAL:  sorry, too many clients already"),
    error("consuming input failed: server closed the connection unexpectedly"),
    error("[Errno -3] Temporary failure in name resolution"),
    exc.TimeoutError("QueuePool limit of size 1 overflow 4 reached"),
    OSError(28, "No space left on device"),
]
LASTING = [
    *(error("", sqlstate=code) for code in ("28P01", "3D000", "25006", "42P01", "22001")),
    *(error(code, "") for code in (1044, 1045, 1049, 1146, 1290)),
    *(error("", sqlite_errorname=f"SQLITE_{name}") for name in ("READONLY", "NOTADB", "CORRUPT", "ERROR", "CANTOPEN")),
    error("", sqlstate="23505", kind=exc.IntegrityError),
    error('connection failed: FATAL:  database "mdaf" does not exist'),
    error("connection failed: FATAL:  password authentication failed for user"),
    error("[Errno -2] Name or service not known"),
    OSError(13, "Permission denied"),
    KeyError("no such study"),
]


@pytest.mark.parametrize("found", AWAY, ids=lambda found: f"{found.__cause__ or found}"[:50])
def test_what_passes_is_waited_for(found: Exception) -> None:
    assert is_away(found)


@pytest.mark.parametrize("found", LASTING, ids=lambda found: f"{found.__cause__ or found}"[:50])
def test_what_waiting_does_not_mend_is_not_waited_for(found: Exception) -> None:
    assert not is_away(found)


def test_a_deadlock_is_a_conflict_and_a_lost_connection_is_none() -> None:
    assert is_conflict(error("", sqlstate="40P01"))
    assert is_conflict(error(1213, "Deadlock found"))
    assert not is_conflict(error("", sqlstate="57P01"))


def test_missing_permission_is_a_refusal_and_a_mistake_in_a_statement_is_none() -> None:
    assert is_refusal(error("", sqlstate="42501", kind=exc.ProgrammingError))
    assert is_refusal(error("", sqlstate="25006", kind=exc.InternalError))
    assert not is_refusal(error("", sqlstate="42601", kind=exc.ProgrammingError))


def test_the_reason_is_one_line_without_a_password() -> None:
    said = "connection failed\npostgresql://me:hunter2@host/db: connection failed: refused\nTry again"
    assert reason_of(error(said)) == "postgresql://me:***@host/db: connection failed: refused"
    assert reason_of(exc.OperationalError("SELECT 1", {}, sqlite3.OperationalError("database is locked"))) == (
        "database is locked"
    )
