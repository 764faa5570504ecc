"""Reads what finished trials recorded when it is asked for, instead of with the trials.

A question about a large study needs the values of all trials, but the attributes of a few. A finished trial never
changes, so these can be read at any time. ``read_late`` switches this on for a storage that only answers questions.
"""

from __future__ import annotations

import bisect
import json
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from mdaf.sweeper.storage.fast_reads import as_optuna_writes, check_texts
from mdaf.sweeper.storage.optuna_internals import (
    TRIAL_USER_ATTRS,
    TRIALS,
    DatabaseStorage,
    details_of,
    trial_id_of,
    without_cache,
)

if TYPE_CHECKING:
    from mdaf.sweeper.storage.idempotent import RepeatableStorage

LARGE = 1000  # finished trials that are read at once; below, everything is read with them
AT_A_TIME = 250  # trials whose attributes are read when those of one are asked for
_KINDS: dict[str, Any] = {'"': "", "[": [], "{": {}, "t": True, "f": False, "n": None, "N": math.nan, "I": math.inf}
_KINDS |= dict.fromkeys("-0123456789", 0.5)  # the first character of a JSON text -> some value of that type


@dataclass(frozen=True)
class Expected:
    """Which user attributes a program expects in a trial. Trials of a study with any other are read at once and whole.

    ``by_value``  names of the attributes whose values are looked at; of all others only the type is.
    ``fits``      whether attributes, each a name with a value or with any value of its type, are as expected.
    """

    by_value: Collection[str]
    fits: Callable[[Iterable[tuple[str, Any]]], bool]


class Details:
    """The user attributes and the reported values of finished trials of one study, read when they are asked for.

    ``names``  of all their attributes; ``filled`` are those that are not null in at least one of the trials.
    """

    def __init__(
        self, storage: RepeatableStorage, study_id: int, keys: Sequence[int], kinds: Collection[tuple]
    ) -> None:
        self.names = frozenset(name for name, _ in kinds)
        self.filled = frozenset(name for name, kind in kinds if kind is not None)
        self._storage, self._study_id, self._keys = storage, study_id, sorted(keys)
        self._columns: dict[str, Mapping[int, Any]] = {}
        self._found: dict[str, dict[int, Any]] = {"user_attrs": {}, "intermediate_values": {}}

    def read(self, field: str, key: int) -> Any:
        """One trial's ``user_attrs`` or ``intermediate_values``; those of its neighbours are read with them."""
        found = self._found[field]
        if key not in found:
            at = bisect.bisect_left(self._keys, key) // AT_A_TIME * AT_A_TIME
            some = self._keys[at : at + AT_A_TIME]
            read = self._storage.read_user_attrs if field == "user_attrs" else self._storage.read_reported_values
            held = read(some)
            found |= {one: held.get(one, {}) for one in some}
        return found[key]

    def column(self, name: str) -> Mapping[int, Any]:
        """The values of one attribute, by the keys of the trials that have it."""
        if name not in self.names:
            return {}
        if name not in self._columns:
            self._columns[name] = self._storage.read_attribute(self._study_id, name)
        return self._columns[name]


def read_late(storage: BaseStorage, expected: Expected) -> None:
    """Has a storage read what large studies recorded late, if their attributes are as expected. A journal does not."""
    backend = without_cache(storage)
    if isinstance(backend, DatabaseStorage):
        backend.expected = expected


def details_for(
    storage: RepeatableStorage, study_id: int, connection: sa.Connection, finished: Sequence[int]
) -> Details | None:
    """The details of the finished trials with these keys. None where they are to be read now: they are few, or hold
    attributes that are not as expected.
    """
    expected: Expected | None = storage.expected
    if expected is None or len(finished) < LARGE:
        return None
    start = sa.func.substr(_ATTRIBUTES.value_json, 1, 1)
    text = sa.case((_ATTRIBUTES.key.in_(sorted(expected.by_value)), _ATTRIBUTES.value_json), else_=start)
    rows = connection.execute(_of_finished(study_id, _ATTRIBUTES.key, text).distinct()).all()
    try:
        check_texts({name for name, _ in rows})
        kinds = [(name, json.loads(text) if name in expected.by_value else _KINDS[text]) for name, text in rows]
    except (ValueError, TypeError, LookupError, RecursionError):  # no JSON, or no name: reading it now says what it is
        return None
    return Details(storage, study_id, finished, kinds) if expected.fits(kinds) else None


def read_attribute(connection: sa.Connection, study_id: int, name: str) -> dict[int, Any]:
    """The values of an attribute of a study's finished trials, by the keys of the trials that have it."""
    query = _of_finished(study_id, _ATTRIBUTES.trial_id, _ATTRIBUTES.value_json).where(_ATTRIBUTES.key == name)
    rows = connection.execute(query).all()
    with as_optuna_writes(f"the attribute {name} of its trials"):
        values = json.loads(f"[{','.join([text for _, text in rows])}]")
        return {key: value for (key, _), value in zip(rows, values, strict=True)}


_ATTRIBUTES = TRIAL_USER_ATTRS.c


def _of_finished(study_id: int, *columns: Any) -> Any:
    """A query for columns of the user attributes of a study's finished trials."""
    finished = [state for state in TrialState if state.is_finished()]
    joined = TRIAL_USER_ATTRS.join(TRIALS, TRIALS.c.trial_id == _ATTRIBUTES.trial_id)
    return sa.select(*columns).select_from(joined).where(TRIALS.c.study_id == study_id, TRIALS.c.state.in_(finished))


def attribute(trial: FrozenTrial, name: str) -> Any:
    """A trial's user attribute, None if it has none of this name. For questions about one attribute of all trials."""
    details = details_of(trial)
    return trial.user_attrs.get(name) if details is None else details.column(name).get(trial_id_of(trial))


def names_of_attributes(trials: Iterable[FrozenTrial], *, filled: bool = False) -> set[str]:
    """The names of all user attributes of trials, which are all of a study; ``filled``: of those that are not null."""
    found: set[str] = set()
    known = set()
    for trial in trials:
        details = details_of(trial)
        if details is None:
            found.update(name for name, value in trial.user_attrs.items() if not (filled and value is None))
        elif id(details) not in known:
            known.add(id(details))
            found |= details.filled if filled else details.names
    return found


def holds(trial: FrozenTrial, name: str) -> bool:
    """Whether a trial has a user attribute of this name. For questions about one attribute of all trials."""
    details = details_of(trial)
    return name in trial.user_attrs if details is None else trial_id_of(trial) in details.column(name)
