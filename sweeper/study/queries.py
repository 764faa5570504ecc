"""Reads studies and trials out of a storage: pure functions from an Optuna study to rows and records.

A row is a dict with the same keys, in the same order, in all rows of one answer; None is "not there". Values are as
Optuna returns them: writing them down, and masking passwords, is ``mdaf.sweeper.study.commands.output``.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from weakref import WeakKeyDictionary

import optuna
from optuna.distributions import distribution_to_json
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from mdaf.errors import UserError, did_you_mean
from mdaf.sweeper.runs.metric_columns import RECORDED
from mdaf.sweeper.storage.late_reads import names_of_attributes, read_late
from mdaf.sweeper.storage.opening import open_storage
from mdaf.sweeper.storage.optuna_internals import storage_of, trial_id_of
from mdaf.sweeper.trials.soundness import OUR_TYPES, sound
from mdaf.sweeper.trials.user_attrs import CONFIRMS

Row = dict[str, Any]

# User attributes that a job writes on its trial (architecture, section 5), in the order of their columns.
ATTRIBUTES = (
    "run_dir",
    "config_hash",
    "data_hash",
    "commit",
    "seed",
    "best_epoch",
    *RECORDED,
    "device",
    "versions",
    "effective",
    "overrides",
)


class QueryError(UserError):
    """A question that the storage can't answer; the message is one line."""


def open_to_ask(url: str) -> BaseStorage:
    """The storage at ``url``, opened only to be read. Of large studies, finished trials are read as far as needed."""
    storage = open_storage(url, create=False, read_only=True)
    read_late(storage, OUR_TYPES)
    return storage


def load_studies(storage: BaseStorage) -> list[Study]:
    """All studies, by name."""
    return [load_study(storage, name) for name in sorted(optuna.get_all_study_names(storage))]


def load_study(storage: BaseStorage, name: str) -> Study:
    """The study of that name; ``QueryError`` names those that exist."""
    names = optuna.get_all_study_names(storage)
    if name not in names:
        known = ", ".join(sorted(names)) or "none"
        raise QueryError(f"there is no study {name!r}; there is: {known}{did_you_mean(name, names)}")
    return optuna.load_study(study_name=name, storage=storage)


def most_recent_study(studies: Sequence[Study]) -> Study:
    """The study with the latest start or end of a trial; one without trials comes last.

    One that holds the runs of a verdict on another one is taken only where there is no other.
    """
    if not studies:
        raise QueryError("the storage holds no study yet")
    searched = [study for study in studies if CONFIRMS not in study.user_attrs]
    return max(searched or studies, key=lambda study: last_activity(study) or datetime.min)


def last_activity(study: Study) -> datetime | None:
    """When a trial last started or ended, in the local time of the process that ran it."""
    times = [
        time
        for trial in trials_of(study)
        for time in (trial.datetime_start, trial.datetime_complete)
        if time is not None
    ]
    return max(times, default=None)


def trials_of(study: Study, *states: TrialState) -> list[FrozenTrial]:
    """The study's trials by number, of the given states or of all.

    Finished trials never change, so each is checked once for all questions of a process.
    """
    trials = sorted(study.get_trials(deepcopy=False, states=states or None), key=lambda trial: trial.number)
    known = _CHECKED.setdefault(storage_of(study), {})
    expected = len(study.directions)
    found = []
    for trial in trials:
        read, checked = known.get(trial_id_of(trial), (None, None))
        if checked is None or read is not trial:
            _check(study, trial, expected)
            checked = sound(trial)
            if trial.state.is_finished():
                known[trial_id_of(trial)] = trial, checked
        found.append(checked)
    return found


#: The finished trials of each storage that have been checked, by their keys: as they were read, and what is left.
_CHECKED: WeakKeyDictionary[BaseStorage, dict[int, tuple[FrozenTrial, FrozenTrial]]] = WeakKeyDictionary()


def _check(study: Study, trial: FrozenTrial, expected: int) -> None:
    """QueryError if a trial is not one that Optuna writes; ``expected`` is the number of its objectives."""
    held = len(trial.values or ())
    if held not in (0, expected) or (trial.state is TrialState.COMPLETE and not held):
        raise QueryError(
            f"study {study.study_name!r}, trial {trial.number}: it is {trial.state.name} with {held} values, "
            f"expected {expected}: Optuna does not write this; take a backup of the database, or another one"
        )
    try:
        dict(trial.constraints)
    except (TypeError, ValueError, AttributeError):
        raise QueryError(
            f"study {study.study_name!r}, trial {trial.number}: its constraints are not what Optuna writes; "
            "take a backup of the database, or another one"
        ) from None


def counts(study: Study) -> dict[str, int]:
    """Number of trials of each state, in Optuna's order of states, zeros included."""
    found = Counter(trial.state for trial in trials_of(study))
    return {state.name: found[state] for state in TrialState}


def counts_in_words(study: Study) -> dict[str, int]:
    """Number of trials by state as a person reads it; states that no trial has are left out."""
    return {"failed" if state == "FAIL" else state.lower(): number for state, number in counts(study).items() if number}


def objective(trial: FrozenTrial) -> float | list[float] | None:
    """The trial's value; a list where the study has several objectives."""
    if not trial.values:
        return None
    return trial.values[0] if len(trial.values) == 1 else list(trial.values)


def trial_columns(study: Study) -> list[str]:
    """number, state, value, params.*, attributes, datetime_start, datetime_complete, duration.

    With several objectives ``value`` is ``value.0``, ``value.1``, ... Attributes other than ``ATTRIBUTES`` follow those
    under their own name, or ``attrs.NAME`` where that is the name of another column.
    """
    trials = trials_of(study)
    params = sorted({name for trial in trials for name in trial.params})
    others = sorted(names_of_attributes(trials) - set(ATTRIBUTES))
    first = ["number", "state", *_value_columns(study), *(f"params.{name}" for name in params)]
    last = ["datetime_start", "datetime_complete", "duration"]
    taken = {*first, *last}
    return [*first, *ATTRIBUTES, *(f"attrs.{name}" if name in taken else name for name in others), *last]


def filled_columns(study: Study) -> set[str]:
    """The names of the job's attributes, and ``duration``, that are known of at least one trial."""
    trials = trials_of(study)
    ended = {"duration"} if any(trial.duration for trial in trials) else set()
    return (names_of_attributes(trials, filled=True) - {"duration"}) | ended


def trial_rows(study: Study, trials: Sequence[FrozenTrial] | None = None) -> list[Row]:
    """One row a trial, of these or of all, with the ``trial_columns``; times are local, the duration in seconds."""
    columns, values = trial_columns(study), _value_columns(study)
    return [_trial_row(trial, columns, values) for trial in (trials_of(study) if trials is None else trials)]


def _trial_row(trial: FrozenTrial, columns: Sequence[str], values: Sequence[str]) -> Row:
    held = dict(trial.user_attrs) | {f"attrs.{name}": value for name, value in trial.user_attrs.items()}
    held |= {f"params.{name}": value for name, value in trial.params.items()}
    held |= {"number": trial.number, "state": trial.state.name}
    held |= dict(zip(values, trial.values or [None] * len(values), strict=True))
    held |= {"datetime_start": trial.datetime_start, "datetime_complete": trial.datetime_complete}
    held["duration"] = trial.duration.total_seconds() if trial.duration else None
    return {name: held.get(name) for name in columns}


def _value_columns(study: Study) -> list[str]:
    return ["value"] if len(study.directions) == 1 else [f"value.{index}" for index in range(len(study.directions))]


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Each name with its last part as heading, or the whole where two end alike."""
    last = [name.rpartition(".")[2] for name in names]
    return {name: part if last.count(part) == 1 else name for name, part in zip(names, last, strict=True)}


def find_trial(study: Study, number: int) -> FrozenTrial:
    """The trial of that number."""
    trials = trials_of(study)
    for trial in trials:
        if trial.number == number:
            return trial
    known = f"its trials are 0 to {trials[-1].number}" if trials else "it has no trial yet"
    raise QueryError(f"study {study.study_name!r} has no trial {number}: {known}")


def trial_record(trial: FrozenTrial) -> dict[str, Any]:
    """All that the storage knows of one trial."""
    return {
        "number": trial.number,
        "state": trial.state.name,
        "value": objective(trial),
        "params": dict(trial.params),
        "intermediate_values": dict(sorted(trial.intermediate_values.items())),
        "constraints": dict(trial.constraints),
        "user_attrs": dict(trial.user_attrs),
        "system_attrs": dict(trial.system_attrs),
        "distributions": {name: json.loads(distribution_to_json(kind)) for name, kind in trial.distributions.items()},
        "datetime_start": trial.datetime_start,
        "datetime_complete": trial.datetime_complete,
        "duration": trial.duration.total_seconds() if trial.duration else None,
    }
