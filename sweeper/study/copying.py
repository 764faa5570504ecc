"""A study copied whole from one database into another: SQLite, PostgreSQL, MySQL, in either direction.

Rows are copied as they are, so that nothing is rounded, reordered or left out: trials with their numbers, states and
times, parameters, distributions, values, intermediate values, attributes of users and of samplers, heartbeats. Only
the keys by which the tables name each other are the other database's own. All of it is one transaction: the study is
there whole and equal, which is checked before it is kept, or not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy import exc

from mdaf.sweeper.storage.fast_reads import chunks
from mdaf.sweeper.storage.opening import StorageError, masked, open_storage
from mdaf.sweeper.storage.optuna_internals import (
    STUDIES,
    STUDY_DIRECTIONS,
    STUDY_SYSTEM_ATTRS,
    STUDY_USER_ATTRS,
    TRIAL_HEARTBEATS,
    TRIAL_INTERMEDIATE_VALUES,
    TRIAL_PARAMS,
    TRIAL_SYSTEM_ATTRS,
    TRIAL_USER_ATTRS,
    TRIAL_VALUES,
    TRIALS,
)
from mdaf.sweeper.storage.retrying import wait_for

ROWS_AT_A_TIME = 1000

_OF_A_STUDY = (STUDY_DIRECTIONS, STUDY_USER_ATTRS, STUDY_SYSTEM_ATTRS)
_OF_A_TRIAL = (
    TRIAL_USER_ATTRS,
    TRIAL_SYSTEM_ATTRS,
    TRIAL_PARAMS,
    TRIAL_VALUES,
    TRIAL_INTERMEDIATE_VALUES,
    TRIAL_HEARTBEATS,
)

DatabaseRow = dict[str, Any]


@dataclass(frozen=True)
class Copied:
    """How much a copied study holds."""

    trials: int
    rows: int


def copy_study(source: str, target: str, name: str, *, running: bool = False) -> Copied:
    """Copies the study ``name``; what is in ``source`` stays as it is.

    StorageError if the target has a study of that name, if trials are RUNNING, unless they are to be copied as such,
    or if a storage is none of SQLAlchemy's.
    """
    reading, writing = _engine(source, create=False), _engine(target, create=True)
    written: list[Copied] = []  # before a commit whose answer may be lost

    def attempt() -> Copied:
        with writing.connect() as here:
            if written and _study_id(here, name) is not None:
                return written[-1]
        return _copy_whole(reading, writing, source, target, name, running, written)

    return wait_for(target, attempt)


def _copy_whole(
    reading: sa.Engine, writing: sa.Engine, source: str, target: str, name: str, running: bool, written: list[Copied]
) -> Copied:
    """The one transaction."""
    with reading.connect() as there, writing.connect() as here:
        if reading.dialect.name == "sqlite":
            there.exec_driver_sql("BEGIN")  # one state of it, whatever is written meanwhile
        else:
            there = there.execution_options(isolation_level="REPEATABLE READ")
        old = _study_id(there, name)
        if old is None:
            raise StorageError(f"{masked(source)} holds no study {name}")
        if _study_id(here, name) is not None:
            raise StorageError(f"{masked(target)} holds a study {name} already, and it is not overwritten")
        if not running:
            _refuse_running(there, old, name)
        try:
            written.append(_copy(there, here, old, name))
            here.commit()
        except exc.IntegrityError:
            raise StorageError(f"{masked(target)}: another process wrote a study {name} at this moment") from None
    return written[-1]


def _engine(url: str, *, create: bool) -> sa.Engine:
    storage = open_storage(url, create=create, read_only=not create)
    if not isinstance(storage, RDBStorage):
        raise StorageError(f"{masked(url)}: a journal has no tables; expected sqlite:///, postgresql:// or mysql://")
    return storage.engine


def _study_id(connection: sa.Connection, name: str) -> int | None:
    return connection.execute(sa.select(STUDIES.c.study_id).where(STUDIES.c.study_name == name)).scalar()


def _refuse_running(connection: sa.Connection, study: int, name: str) -> None:
    held = sa.and_(TRIALS.c.study_id == study, TRIALS.c.state == TrialState.RUNNING)
    if found := connection.execute(sa.select(sa.func.count()).select_from(TRIALS).where(held)).scalar():
        raise StorageError(
            f"study {name} has {found} RUNNING trial{'s' * (found > 1)}, and what they report would go to the old "
            "database; let the sweep end, or give up dead ones with mdaf-study reap --yes, or add --running"
        )


def _copy(there: sa.Connection, here: sa.Connection, old: int, name: str) -> Copied:
    here.execute(STUDIES.insert().values(study_name=name))
    new = _study_id(here, name)
    assert new is not None
    rows = sum(_copy_rows(there, here, table, table.c.study_id, {old: new}) for table in (*_OF_A_STUDY, TRIALS))
    before, after = (_trial_ids(connection, study) for connection, study in ((there, old), (here, new)))
    ids = {trial: after[number] for number, trial in before.items()}
    rows += sum(_copy_rows(there, here, table, table.c.trial_id, ids) for table in _OF_A_TRIAL)
    return Copied(len(ids), rows + 1)


def _trial_ids(connection: sa.Connection, study: int) -> dict[int, int]:
    """Number -> key, of all trials of a study."""
    asked = sa.select(TRIALS.c.number, TRIALS.c.trial_id).where(TRIALS.c.study_id == study)
    found = connection.execute(asked).all()
    ids = {row.number: row.trial_id for row in found}
    if len(ids) != len(found):
        raise StorageError("two trials of the study have the same number, so it cannot be copied")
    return ids


def _copy_rows(there: sa.Connection, here: sa.Connection, table: Any, owner: Any, ids: dict[int, int]) -> int:
    """Copies what belongs to these owners, in its order, under their new keys; compares; returns how many rows."""
    count = 0
    for some in chunks(sorted(ids), ROWS_AT_A_TIME):
        rows = [row | {owner.name: ids[row[owner.name]]} for row in _rows(there, table, owner, some)]
        if rows:
            here.execute(table.insert(), rows)
        if _rows(here, table, owner, [ids[key] for key in some]) != rows:
            raise StorageError(f"table {table.name} reads differently after it was written, so nothing is kept")
        count += len(rows)
    return count


def _rows(connection: sa.Connection, table: Any, owner: Any, keys: Sequence[int]) -> list[DatabaseRow]:
    """All columns but the table's own key, by owner and, within one, in the order in which they were written."""
    [key] = table.primary_key.columns
    columns = [column for column in table.columns if column is not key]
    asked = sa.select(*columns).where(owner.in_(keys)).order_by(owner, key)
    return [dict(row) for row in connection.execute(asked).mappings()]
