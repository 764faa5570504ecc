"""Reads trials from the tables of Optuna's storage, plainly.

Whoever asks for a trial reads all unfinished ones, several times: to find its place, and for the sampler, which takes
into account what others try at this moment. Optuna builds objects of SQLAlchemy's for every row on the way, which with
a thousand running trials takes seconds; here rows stay rows. The trials are equal to Optuna's.
"""

from __future__ import annotations

import functools
import json
import operator
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.trial import FrozenTrial, TrialState

from mdaf.errors import UserError
from mdaf.reporting import one_line
from mdaf.sweeper.storage.optuna_internals import (
    STUDIES,
    TRIAL_INTERMEDIATE_VALUES,
    TRIAL_PARAMS,
    TRIAL_SYSTEM_ATTRS,
    TRIAL_USER_ATTRS,
    TRIAL_VALUES,
    TRIALS,
    reported_from_columns,
    value_from_columns,
)

KEYS_AT_A_TIME = 2000

_parsed = functools.lru_cache(maxsize=1024)(json_to_distribution)  # a study has a few, and nothing changes them

Part = Sequence[Any]  # rows of one trial
Rows = dict[int, list[Any]]  # by trial


class ForeignRowsError(UserError):
    """A study database that holds what Optuna does not write: somebody edited it, or it is damaged."""


@contextmanager
def as_optuna_writes(what: str, passed_on: type[Exception] = KeyError) -> Iterator[None]:
    """Turns what a reader raises of rows that Optuna does not write into a ForeignRowsError; ``what`` was read.

    SQLite keeps a text where its table says number, and attributes are texts that may hold anything.
    """
    try:
        yield
    except (passed_on, UserError):  # there is no such study or trial
        raise
    except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RecursionError) as error:
        reason = one_line(error) or type(error).__name__
        raise ForeignRowsError(
            f"the study database holds what Optuna does not write, so it cannot be read: {what}: {reason}; take a "
            "backup of it, or another database"
        ) from error


def read_trials(
    engine: sa.Engine,
    study_id: int,
    states: Iterable[TrialState] | None,
    included: Collection[int],
    after: int,
) -> list[FrozenTrial]:
    """The trials of a study by key: all with ``after`` -1, else those ``included`` and those with a greater key.

    KeyError if there is no such study.
    """
    with engine.connect() as connection:
        with as_optuna_writes("its trials"):
            found = _trials(connection, study_id, states, included, after)
        if not found and not connection.execute(sa.select(STUDIES).where(STUDIES.c.study_id == study_id)).first():
            raise KeyError(f"there is no study with the key {study_id}")
        keys = [row.trial_id for row in found]
        with as_optuna_writes("parameters, values or attributes of its trials", UserError):
            params = _of(
                connection, keys, TRIAL_PARAMS, "param_name", "param_value", "distribution_json", in_order=True
            )
            values = _of(connection, keys, TRIAL_VALUES, "objective", "value", "value_type")
            epochs = _of(
                connection, keys, TRIAL_INTERMEDIATE_VALUES, "step", "intermediate_value", "intermediate_value_type"
            )
            user = _of(connection, keys, TRIAL_USER_ATTRS, "value_json", "key")
            system = _of(connection, keys, TRIAL_SYSTEM_ATTRS, "value_json", "key")
    parts = (params, values, epochs, user, system)
    trials = []
    for row in found:
        with as_optuna_writes(f"trial {row.number}", UserError):
            trials.append(_frozen(row, *(rows.get(row.trial_id, ()) for rows in parts)))
    return trials


def _trials(
    connection: sa.Connection,
    study_id: int,
    states: Iterable[TrialState] | None,
    included: Collection[int],
    after: int,
) -> list[Any]:
    whose = [TRIALS.c.study_id == study_id]
    if states is not None:
        whose.append(TRIALS.c.state.in_(list(states)))
    found = list(connection.execute(sa.select(TRIALS).where(*whose, TRIALS.c.trial_id > after)))
    for keys in chunks(sorted(key for key in included if key <= after), KEYS_AT_A_TIME):
        found += connection.execute(sa.select(TRIALS).where(*whose, _among(TRIALS, keys)))
    return sorted(found, key=lambda row: row.trial_id)


def _of(connection: sa.Connection, keys: Sequence[int], table: Any, *names: str, in_order: bool = False) -> Rows:
    """The named columns of a table's rows, by the trial that they belong to; of JSON, name and value."""
    found: Rows = defaultdict(list)
    rows: Sequence[Any]
    for some in chunks(keys, KEYS_AT_A_TIME):
        asked = sa.select(table.c.trial_id, *(table.c[name] for name in names)).where(_among(table, some))
        if in_order:
            asked = asked.order_by(*table.primary_key.columns)
        rows = connection.execute(asked).all()
        if names[0] == "value_json":  # all at once, which takes a fraction of the time
            read = json.loads(f"[{','.join(row[1] for row in rows)}]")
            rows = [(row[0], row[2], value) for row, value in zip(rows, read, strict=True)]
        if names[0] in ("param_name", "value_json"):
            check_texts(row[1] for row in rows)
        for row in rows:
            found[row[0]].append(row[1:])
    return found


def check_texts(names: Iterable[Any]) -> None:
    """TypeError if a name is none: SQLite keeps bytes where its table says text."""
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"found {name!r}, expected a text")


def _among(table: Any, keys: Sequence[int]) -> Any:
    """The keys stand in the statement, since databases bound the number of its parameters."""
    return table.c.trial_id.in_(sa.bindparam("keys", list(keys), expanding=True, literal_execute=True))


def chunks(keys: Sequence[int], most: int) -> Iterator[Sequence[int]]:
    """The keys in order, so many at a time as a statement may name."""
    for start in range(0, len(keys), most):
        yield keys[start : start + most]


def _frozen(row: Any, params: Part, values: Part, epochs: Part, user: Part, system: Part) -> FrozenTrial:
    kinds: dict[str, BaseDistribution] = {name: _parsed(kind) for name, _, kind in params}
    return FrozenTrial(
        number=operator.index(row.number),
        state=row.state,
        value=None,
        values=[float(value_from_columns(value, kind)) for _, value, kind in sorted(values, key=lambda one: one[0])]
        or None,
        datetime_start=_local(row.datetime_start),
        datetime_complete=_local(row.datetime_complete),
        params={name: kinds[name].to_external_repr(_number(name, value)) for name, value, _ in params},
        distributions=kinds,
        user_attrs=dict(user),
        system_attrs=dict(system),
        intermediate_values={step: float(reported_from_columns(value, kind)) for step, value, kind in epochs},
        trial_id=row.trial_id,
    )


def _number(name: str, value: Any) -> float:
    if not isinstance(value, int | float):
        raise TypeError(f"its parameter {name!r} is {value!r}, expected a number")
    return value


def _local(moment: datetime | None) -> datetime | None:
    """The time of this machine; the tables hold UTC, and neither says so."""
    return None if moment is None else moment.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)
