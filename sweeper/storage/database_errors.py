"""Decides whether an error of a database is temporary, so that waiting helps. ``retrying`` uses it.

If the driver gives an error code, the code decides: PostgreSQL's SQLSTATE, MySQL's numbers, SQLite's names. An error
without a code mostly means that no connection could be made. Then the text decides.
"""

from __future__ import annotations

import errno
import re
from typing import Any

from optuna.exceptions import StorageInternalError
from sqlalchemy import exc

from mdaf.messages.secrets import masked_text

# Classes of SQLSTATE (its first two characters), and single codes: connection lost, shutting down or starting up, out
# of connections or of space, a deadlock or another conflict of transactions, a transaction that an earlier error
# aborted.
_AWAY_CLASSES = ("08", "53", "40", "58")
_AWAY_STATES = ("57P01", "57P02", "57P03", "57P05", "57014", "55P03", "25P02", "25P03", "25P04")
_AWAY_NUMBERS = {
    *(0, 2002, 2003, 2006, 2013, 2014, 2055),  # from the client: no connection, or a lost one
    *(1021, 1037, 1040, 1041, 1203, 1226),  # out of space, memory or connections
    *(1053, 1077, 1078, 1079, 1080, 1152, 1184, 1927, 4031),  # the server shuts down, or ended the connection
    *(1158, 1159, 1160, 1161, 1189, 1190),  # network errors
    *(1205, 1213, 1317, 3024, 3572, 1614),  # lock timeout, deadlock, interrupted
}
_AWAY_NAMES = ("BUSY", "LOCKED", "IOERR", "FULL", "PROTOCOL", "INTERRUPT", "NOMEM")
_CONFLICTS = ("40001", "40P01", "55P03", "25P02", 1205, 1213, "SQLITE_BUSY", "SQLITE_BUSY_SNAPSHOT", "SQLITE_LOCKED")
_FORBIDDEN = ("42501", 1044, 1142, 1143)
_AWAY_OF_A_FILE = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EBUSY),
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM),
}

_LASTING = re.compile(
    "read-?only|no such (table|column)|does not exist|unknown database|syntax|permission|access denied|"
    "authentication|password|not a database|malformed|no pg_hba.conf entry|invalid (port|connection option|dsn|uri)|"
    "certificate|server does not support ssl|name or service not known|nodename nor servname|"
    "unable to open database file|could not decode",
    re.I,
)


def is_away(error: BaseException) -> bool:
    """Whether the database may be back soon: it restarts, is unreachable, out of connections or locked, or its disk is
    full.
    """
    found = cause_of(error)
    if isinstance(found, OSError):
        return found.errno in _AWAY_OF_A_FILE
    if isinstance(found, exc.TimeoutError | exc.PendingRollbackError):  # the pool is empty; an earlier call failed
        return True
    if not isinstance(found, exc.DBAPIError) or isinstance(found, exc.IntegrityError | exc.DataError):
        return False
    if (code := code_of(found)) is not None:
        return found.connection_invalidated or _is_away_by_code(code)
    usual = isinstance(found, exc.OperationalError | exc.InterfaceError) or found.connection_invalidated
    return usual and not _LASTING.search(str(found.orig))


def is_conflict(error: BaseException) -> bool:
    """Whether two transactions were in conflict. The next attempt usually succeeds."""
    found = cause_of(error)
    return isinstance(found, exc.DBAPIError) and code_of(found) in _CONFLICTS


def is_refusal(error: BaseException) -> bool:
    """Whether the database answered and refused: it is read-only, or permission is missing."""
    found = cause_of(error)
    if isinstance(found, exc.ProgrammingError):
        return code_of(found) in _FORBIDDEN
    return isinstance(found, exc.OperationalError | exc.InternalError | exc.NotSupportedError)


def code_of(error: exc.DBAPIError) -> str | int | None:
    """The driver's error code: a text (PostgreSQL, SQLite) or a number (MySQL); None if there is none."""
    driver: Any = error.orig
    for name in ("sqlstate", "pgcode", "sqlite_errorname"):
        if (code := getattr(driver, name, None)) is not None:
            return str(code)
    arguments = getattr(driver, "args", ())
    return arguments[0] if arguments and isinstance(arguments[0], int) else None


def reason_of(error: BaseException) -> str:
    """The driver's error message in one line, without passwords."""
    found = cause_of(error)
    said = str(getattr(found, "orig", None) or found).strip()
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    # psycopg's first line is a heading; below it is a line for each address that it tried.
    line = next((line for line in lines if "failed: " in line), lines[0] if lines else type(found).__name__)
    return masked_text(line)


def cause_of(error: BaseException) -> BaseException:
    """The error of SQLAlchemy or of the operating system that is the cause of Optuna's error."""
    while isinstance(error, StorageInternalError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _is_away_by_code(code: str | int) -> bool:
    if isinstance(code, int):
        return code in _AWAY_NUMBERS
    if code.startswith("SQLITE_"):
        return code.removeprefix("SQLITE_").partition("_")[0] in _AWAY_NAMES
    return code in _AWAY_STATES or code.startswith(_AWAY_CLASSES)
