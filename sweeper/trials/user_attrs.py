"""Names of the user attributes that a sweep and its jobs write on trials and studies."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

# ---- of a trial: who holds it
WORKER = "worker"  # the process that asked for it, as host:pid:start
JOB = "job"  # the process that trains it, where that is another one
LEASE_EXPIRES = "lease_expires"  # unix seconds by the holder's clock; every renewal changes it

# ---- of a trial: how it came about
POINT = "point"  # the name of the known point that it is
ENQUEUED_AS = "enqueued_as"  # the key under which it was put in line
RETRY_OF = "retry_of"  # the number of the trial whose point this one tries again
RETRY_OVERRIDES = "retry_overrides"  # what a retry sets besides its point
DEATHS = "deaths"  # how many trials of this point died before: killed, hung, lost
INTERRUPTIONS = "interruptions"  # how many trials of this point were interrupted before
OVERRIDES = "overrides"  # what every job of its sweep got as it is
ADDED = "added"  # parameter -> Hydra's sign before its key, + or ++: the config has no such key of its own

# ---- of a trial: how it ended
OUTCOME = "outcome"  # state and values, by a job in a process of its own: in case nobody is there to tell the study
DIED = "died"  # why it was given up
INTERRUPTED = "interrupted"  # why its job left before its end, which is no failure of its point; null: it came back
WITHDRAWN = "withdrawn"  # why it ended before it began: another one has its place
RETRY = "retry"  # it is to be tried again: the user attributes that its retry gets
ERROR = "error"  # type and message of what made it fail
TRACEBACK = "traceback"  # where
FAILED_BY = "failed_by"  # "point": it diverged, as it would again; "typed": a mistake in what was typed; else neither
MICRO_BATCH = "micro_batch"  # samples per forward pass that its job used


# The types of those that are read again, and of what a job records: of another type they are somebody else's.
NUMBER = (int, float)
TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys((OVERRIDES, RETRY_OVERRIDES), (list,)),
    **dict.fromkeys((RETRY, OUTCOME, "effective"), (dict,)),
    **dict.fromkeys((RETRY_OF, DEATHS, INTERRUPTIONS, MICRO_BATCH, "seed", "best_epoch"), (int,)),
    **dict.fromkeys(
        (POINT, ENQUEUED_AS, DIED, INTERRUPTED, WITHDRAWN, ERROR, FAILED_BY, TRACEBACK, "run_dir", "artifacts"), (str,)
    ),
    **dict.fromkeys(("train_auc", "train_val_gap", "gate_mean", "epoch_seconds", LEASE_EXPIRES), NUMBER),
}
_WORDS = {list: "a list of texts", dict: "a mapping", int: "a whole number", str: "a text", float: "a number"}


def complaint(attributes: Mapping[str, Any]) -> str | None:
    """Which attribute of a trial is not of the type that this program writes, and what was found; None if all are."""
    for name, value in attributes.items():
        kinds = TYPES.get(name)
        fits = value is None or kinds is None or (isinstance(value, kinds) and not isinstance(value, bool))
        if isinstance(value, list) and kinds == (list,):
            fits = all(isinstance(text, str) for text in value)
        if name == RETRY and isinstance(value, dict) and (inner := complaint(value)) is not None:
            return f"its attribute {RETRY} is {value!r}: {inner}"
        if name == OUTCOME and isinstance(value, dict) and not _is_outcome(value):
            return f"its attribute {OUTCOME} is {value!r}, expected a state and a list of numbers as values"
        if not fits:
            assert kinds is not None
            return f"its attribute {name} is {value!r}, expected {_WORDS[kinds[-1]]}"
    return None


def _is_outcome(value: Mapping[str, Any]) -> bool:
    """Whether a job's own word of its end is as one writes it (``mdaf.sweeper.trials.link``)."""
    values = value.get("values", ())
    numbers = values is None or (isinstance(values, list) and all(isinstance(number, NUMBER) for number in values))
    return numbers and value.get("state") == ("PRUNED" if values is None else "COMPLETE")


def sound(trial: FrozenTrial) -> FrozenTrial:
    """The trial without the attributes that are of another type than this program writes."""
    if complaint(trial.user_attrs) is None and isinstance(trial.system_attrs.get("fixed_params", {}), dict):
        return trial
    kept = copy.copy(trial)
    kept.user_attrs = {n: value for n, value in trial.user_attrs.items() if complaint({n: value}) is None}
    kept.system_attrs = {n: v for n, v in trial.system_attrs.items() if n != "fixed_params" or isinstance(v, dict)}
    return kept


# ---- of a study
MAX_DEATHS = "max_deaths"  # after so many deaths a point is not tried again, as its latest sweep was told

# ---- of a study: what its trials have in common; each but the last a mapping as JSON
OBJECTIVE = "objective"  # the names of what the job returns, whether each is maximized, the constraints
MEANINGS = "space"  # parameter -> what it is
CONFIG = "common_config"  # the config of every job outside the searched parameters, flat
DATA_HASH = "data_hash"
