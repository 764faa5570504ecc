"""Reads trials from the tables of Optuna's storage with plain queries. The result equals that of Optuna.

``Study.ask`` reads all unfinished trials several times: to give the new trial a number, and for the sampler, which
takes running trials into account. Optuna builds an object of SQLAlchemy for every row on the way. With a thousand
running trials that takes seconds. Here no such objects are built.
"""

from __future__ import annotations

import functools
import gc
import json
import operator
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa
from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.trial import FrozenTrial, TrialState

from mdaf.errors import UserError
from mdaf.messages.reporting import one_line
from mdaf.sweeper.storage.optuna_internals import (
    STUDIES,
    TRIAL_INTERMEDIATE_VALUES,
    TRIAL_PARAMS,
    TRIAL_SYSTEM_ATTRS,
    TRIAL_USER_ATTRS,
    TRIAL_VALUES,
    TRIALS,
    PartlyReadTrial,
    reported_from_columns,
    value_from_columns,
)

if TYPE_CHECKING:
    from mdaf.sweeper.storage.late_reads import Details

KEYS_AT_A_TIME = 2000

_parsed = functools.lru_cache(maxsize=1024)(json_to_distribution)  # a study has few, and they never change

Rows = dict[int, list[Any]]  # the rows of one table, by trial


class ForeignRowsError(UserError):
    """A study database has contents that Optuna never writes: somebody edited it, or it is damaged."""


@contextmanager
def as_optuna_writes(what: str | Callable[[], str], passed_on: type[Exception] = KeyError) -> Iterator[None]:
    """Raises ForeignRowsError instead of any error that reading unexpected rows may cause. ``what`` names what is read.

    Such rows are possible, because SQLite accepts a text in a column of numbers, and attributes are texts. Errors of
    the class ``passed_on`` are raised unchanged.
    """
    try:
        yield
    except (passed_on, UserError):  # for example, there is no such study or trial
        raise
    except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RecursionError) as error:
        reason, where = one_line(error) or type(error).__name__, what if isinstance(what, str) else what()
        raise ForeignRowsError(
            f"the study database holds what Optuna does not write, so it cannot be read: {where}: {reason}; take a "
            "backup of it, or another database"
        ) from error


@contextmanager
def without_collecting() -> Iterator[None]:
    """Within this context, Python does not look for garbage.

    It would look at all objects again and again while many of them are made, which takes half of the time.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@without_collecting()
def read_trials(
    engine: sa.Engine,
    study_id: int,
    states: Iterable[TrialState] | None,
    included: Collection[int],
    after: int,
    details_for: Callable[[sa.Connection, list[int]], Details | None] = lambda connection, keys: None,
) -> list[FrozenTrial]:
    """The trials of a study, sorted by key: those with a key above ``after``, and those with a key in ``included``.

    ``states``: only trials in these states; None for all. ``after`` -1 selects all trials. ``details_for`` may return,
    for the keys of the finished trials, what reads their attributes and reported values later. Raises KeyError if there
    is no such study, ForeignRowsError if the rows are not Optuna's.
    """
    with engine.connect() as connection:
        with as_optuna_writes("its trials"):
            found = _trials(connection, study_id, states, included, after)
        if not found and not connection.execute(sa.select(STUDIES).where(STUDIES.c.study_id == study_id)).first():
            raise KeyError(f"there is no study with the key {study_id}")
        with as_optuna_writes("parameters, values or attributes of its trials", UserError):
            details = details_for(connection, [row.trial_id for row in found if row.state.is_finished()])
            parts = _parts_of(connection, found, late=details is not None)
    trials: list[FrozenTrial] = []
    with as_optuna_writes(lambda: f"trial {found[len(trials)].number}", UserError):
        for row in found:
            fields = _fields(row, parts)
            if details is not None and row.state.is_finished():
                trials.append(PartlyReadTrial(details, **fields))
            else:
                key = row.trial_id
                user, reported = parts.user.get(key, {}), parts.reported.get(key, {})
                trials.append(FrozenTrial(**fields, user_attrs=user, intermediate_values=reported))
    return trials


class Parts(NamedTuple):
    """What belongs to trials, by their keys."""

    params: Rows
    values: Rows
    system: Mapping[int, dict[str, Any]]
    user: Mapping[int, dict[str, Any]]
    reported: Mapping[int, dict[int, float]]


def _parts_of(connection: sa.Connection, found: Sequence[Any], *, late: bool) -> Parts:
    """The parts of trials; ``late``: without what ``late_reads`` reads of the finished ones."""
    keys = [row.trial_id for row in found]
    now = [row.trial_id for row in found if not row.state.is_finished()] if late else keys
    return Parts(
        _rows_of(connection, keys, TRIAL_PARAMS, "param_name", "param_value", "distribution_json", in_order=True),
        _rows_of(connection, keys, TRIAL_VALUES, "objective", "value", "value_type"),
        attributes_of(connection, keys, TRIAL_SYSTEM_ATTRS),
        attributes_of(connection, now, TRIAL_USER_ATTRS),
        reported_values_of(connection, now),
    )


def _trials(
    connection: sa.Connection,
    study_id: int,
    states: Iterable[TrialState] | None,
    included: Collection[int],
    after: int,
) -> list[Any]:
    conditions = [TRIALS.c.study_id == study_id]
    if states is not None:
        conditions.append(TRIALS.c.state.in_(list(states)))
    found = list(connection.execute(sa.select(TRIALS).where(*conditions, TRIALS.c.trial_id > after)).all())
    for keys in chunks(sorted(key for key in included if key <= after), KEYS_AT_A_TIME):
        found += connection.execute(sa.select(TRIALS).where(*conditions, _among(TRIALS, keys))).all()
    return sorted(found, key=lambda row: row.trial_id)


def _rows_of(connection: sa.Connection, keys: Sequence[int], table: Any, *names: str, in_order: bool = False) -> Rows:
    """The named columns of a table behind the trial's key, by trial."""
    found: Rows = defaultdict(list)
    for some in chunks(keys, KEYS_AT_A_TIME):
        rows = _select(connection, some, table, names, in_order=in_order)
        if names[0] == "param_name":
            check_texts({row[1] for row in rows})
        for row in rows:
            found[row[0]].append(row)
    return found


def reported_values_of(connection: sa.Connection, keys: Sequence[int]) -> dict[int, dict[int, float]]:
    """The reported values by step, by trial."""
    rows = _rows_of(
        connection, keys, TRIAL_INTERMEDIATE_VALUES, "step", "intermediate_value", "intermediate_value_type"
    )
    return {
        key: {step: float(reported_from_columns(value, kind)) for _, step, value, kind in of_trial}
        for key, of_trial in rows.items()
    }


def attributes_of(connection: sa.Connection, keys: Sequence[int], table: Any) -> dict[int, dict[str, Any]]:
    """The attributes of a table, by trial."""
    found: dict[int, dict[str, Any]] = defaultdict(dict)
    for some in chunks(keys, KEYS_AT_A_TIME):
        rows = _select(connection, some, table, ("key", "value_json"))
        check_texts({name for _, name, _ in rows})
        # Parsing all texts at once takes a fraction of the time.
        read = json.loads(f"[{','.join([text for _, _, text in rows])}]")
        for (key, name, _), value in zip(rows, read, strict=True):
            found[key][name] = value
    return found


def _select(
    connection: sa.Connection, keys: Sequence[int], table: Any, names: Sequence[str], *, in_order: bool = False
) -> Sequence[Any]:
    query = sa.select(table.c.trial_id, *(table.c[name] for name in names)).where(_among(table, keys))
    return connection.execute(query.order_by(*table.primary_key.columns) if in_order else query).all()


def check_texts(names: Iterable[Any]) -> None:
    """Raises TypeError if a name is not a text. SQLite accepts bytes in a column of texts."""
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"found {name!r}, expected a text")


def _among(table: Any, keys: Sequence[int]) -> Any:
    """A condition that names the ascending keys, or only their ends where none is missing between them.

    The keys stand in the statement itself, since databases limit the number of parameters.
    """
    if keys[-1] - keys[0] == len(keys) - 1:
        return table.c.trial_id.between(keys[0], keys[-1])
    return table.c.trial_id.in_(sa.bindparam("keys", list(keys), expanding=True, literal_execute=True))


def chunks(keys: Sequence[int], most: int) -> Iterator[Sequence[int]]:
    """The keys in order, so many at a time as a statement may name."""
    for start in range(0, len(keys), most):
        yield keys[start : start + most]


def _fields(row: Any, parts: Parts) -> dict[str, Any]:
    """The arguments of a FrozenTrial, without its user attributes and the values that it reported."""
    key = row.trial_id
    params, values = parts.params.get(key, ()), parts.values.get(key, ())
    kinds: dict[str, BaseDistribution] = {name: _parsed(kind) for _, name, _, kind in params}
    by_objective = sorted(values, key=operator.itemgetter(1)) if len(values) > 1 else values
    return {
        "number": operator.index(row.number),
        "state": row.state,
        "value": None,
        "values": [float(value_from_columns(value, kind)) for _, _, value, kind in by_objective] or None,
        "datetime_start": _local_time(row.datetime_start),
        "datetime_complete": _local_time(row.datetime_complete),
        "params": {name: kinds[name].to_external_repr(_number(name, value)) for _, name, value, _ in params},
        "distributions": kinds,
        "system_attrs": parts.system.get(key, {}),
        "trial_id": key,
    }


def _number(name: str, value: Any) -> float:
    if not isinstance(value, int | float):
        raise TypeError(f"its parameter {name!r} is {value!r}, expected a number")
    return value


def _local_time(moment: datetime | None) -> datetime | None:
    """A time from the tables, which hold UTC without a time zone, as local time without a time zone, as Optuna does."""
    if moment is None:
        return None
    offset, fold = _offset(moment.toordinal(), moment.hour * 4 + moment.minute // 15)
    local = moment + offset
    return local.replace(fold=fold) if fold else local


@functools.lru_cache(maxsize=4096)
def _offset(day: int, quarter: int) -> tuple[timedelta, int]:
    """Local time less UTC in a quarter of an hour, and whether its local times have been before (``fold``).

    To ask for it is slow, and clocks are changed at the beginning of a quarter of an hour alone.
    """
    moment = datetime.fromordinal(day) + timedelta(minutes=15 * quarter)
    local = moment.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)
    return local - moment, local.fold
