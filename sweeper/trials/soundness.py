"""Trials as another program may have left them: which of their attributes are of the types that this program writes."""

from __future__ import annotations

import copy

from optuna.trial import FrozenTrial

from mdaf.sweeper.storage.late_reads import Expected
from mdaf.sweeper.storage.optuna_internals import details_of
from mdaf.sweeper.trials.user_attrs import OUTCOME, RETRY, TYPES, complaint


def complaint_of(trial: FrozenTrial) -> str | None:
    """The complaint about a trial's attributes; None if there is none. What is read late was looked at before."""
    return None if details_of(trial) is not None else complaint(trial.user_attrs)


#: What of the attributes of a study's trials has to be looked at, to know that none of them is of another type.
OUR_TYPES = Expected(
    by_value=frozenset(name for name, types in TYPES.items() if types in ((int,), (list,)) or name in (RETRY, OUTCOME)),
    fits=lambda attributes: all(complaint({name: value}) is None for name, value in attributes),
)


def sound(trial: FrozenTrial) -> FrozenTrial:
    """The trial without the attributes that are of another type than this program writes."""
    if complaint_of(trial) is None and isinstance(trial.system_attrs.get("fixed_params", {}), dict):
        return trial
    kept = copy.copy(trial)
    kept.user_attrs = {n: value for n, value in trial.user_attrs.items() if complaint({n: value}) is None}
    kept.system_attrs = {n: v for n, v in trial.system_attrs.items() if n != "fixed_params" or isinstance(v, dict)}
    return kept
