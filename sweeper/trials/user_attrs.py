"""The user attributes that a sweep and its jobs write on trials and studies: one table of all of them.

This module imports no Optuna: the defaults of a sweep need it, which every command reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

# Of a trial: which process holds it.
WORKER, JOB, LEASE_EXPIRES = "worker", "job", "lease_expires"
# Of a trial: where its parameters come from.
POINT, ENQUEUED_AS, RETRY_OF, RETRY_OVERRIDES = "point", "enqueued_as", "retry_of", "retry_overrides"
POINT_ID, SEED = "point_id", "seed"
DEATHS, INTERRUPTIONS, OVERRIDES, ADDED = "deaths", "interruptions", "overrides", "added"
RUN_CONFIG, SAME_RUN_AS = "run_config", "same_run_as"
# Of a trial: how it ended.
OUTCOME, DIED, INTERRUPTED, WITHDRAWN, RETRY = "outcome", "died", "interrupted", "withdrawn", "retry"
ERROR, TRACEBACK, FAILED_BY, MICRO_BATCH = "error", "traceback", "failed_by", "micro_batch"
# Of a study: what holds for all of its trials.
MAX_DEATHS, OBJECTIVE, MEANINGS, CONFIG, DATA_HASH = "max_deaths", "objective", "space", "common_config", "data_hash"
RACE_SEEDS, RACE_RUNS = "race_seeds", "race_runs"
N_TRIALS, FAILED_TRIALS = "n_trials", "failed_trials"
CONFIRMS = "confirms"

DEFAULT_MAX_DEATHS = 5  # a point that took so many processes with it is not tried again

NUMBER = (int, float)
Writer = Literal["sweep", "job", "sweep or job"]


@dataclass(frozen=True)
class UserAttribute:
    """A user attribute: its name, the type of its value, who writes it, and what it means. Any value may be null."""

    name: str
    types: tuple[type, ...]
    writer: Writer
    meaning: str
    of: Literal["trial", "study"] = "trial"


USER_ATTRIBUTES = (
    UserAttribute(WORKER, (str,), "sweep", "the process that asked for the trial, as host:pid:start"),
    UserAttribute(JOB, (str,), "job", "the process that trains the trial, if it is another one"),
    UserAttribute(
        LEASE_EXPIRES,
        NUMBER,
        "sweep or job",
        "unix seconds by the holder's clock; every renewal of the lease changes it",
    ),
    UserAttribute(POINT, (str,), "sweep", "the name of the known point that the trial tries"),
    UserAttribute(POINT_ID, (str,), "sweep", "in a race: the same for all runs of one point, whose seeds differ"),
    UserAttribute(ENQUEUED_AS, (str,), "sweep", "a key that keeps two workers from enqueuing the same trial twice"),
    UserAttribute(RETRY_OF, (int,), "sweep", "the number of the trial whose parameters this trial tries again"),
    UserAttribute(RETRY_OVERRIDES, (list,), "sweep", "the overrides that a retry has in addition to its parameters"),
    UserAttribute(DEATHS, (int,), "sweep", "how many trials of these parameters died before: killed, hung or lost"),
    UserAttribute(INTERRUPTIONS, (int,), "sweep", "how many trials of these parameters were interrupted before"),
    UserAttribute(OVERRIDES, (list,), "sweep", "the overrides that every job of the sweep got"),
    UserAttribute(
        ADDED, (dict,), "sweep", "parameter -> the sign before its key, + or ++, where the config has no such key"
    ),
    UserAttribute(
        RUN_CONFIG,
        (str,),
        "sweep",
        "a hash of the config besides parameters and overrides; absent if a seed in it is null, so that runs differ",
    ),
    UserAttribute(
        SAME_RUN_AS, (int,), "sweep", "the number of the trial whose run this one would repeat, and whose values it has"
    ),
    UserAttribute("run_dir", (str,), "job", "the run folder"),
    UserAttribute("artifacts", (str,), "job", "the URL of the copy of the run folder"),
    UserAttribute("config_hash", (str,), "job", "the hash of the config"),
    UserAttribute("data_hash", (str,), "job", "the hash of the prepared store"),
    UserAttribute("commit", (str,), "job", "the commit of the code"),
    UserAttribute(SEED, (int,), "sweep or job", "the seed; in a race the sweep writes it before the job begins"),
    UserAttribute("device", (str,), "job", "the device"),
    UserAttribute("versions", (dict, str), "job", "the versions of the packages, as JSON or as a mapping"),
    UserAttribute("effective", (dict,), "job", "parameter -> the value in the job's config"),
    UserAttribute(MICRO_BATCH, (int,), "job", "samples per forward pass"),
    UserAttribute("best_epoch", (int,), "job", "the best epoch, by training.monitor"),
    UserAttribute("train_auc", NUMBER, "job", "the AUC on training rows at the best epoch"),
    UserAttribute("train_val_gap", NUMBER, "job", "training AUC minus validation AUC at the best epoch"),
    UserAttribute("val_loss", NUMBER, "job", "the log loss on validation rows at the best epoch"),
    UserAttribute("val_ece", NUMBER, "job", "the calibration error on validation rows at the best epoch"),
    UserAttribute("gate_mean", NUMBER, "job", "the mean of the fusion gate at the best epoch"),
    UserAttribute("val_auc_in_history", NUMBER, "job", "there, the AUC on rows whose item is in the user's history"),
    UserAttribute("val_auc_new_items", NUMBER, "job", "and the AUC on rows whose item is new to the user"),
    UserAttribute("hr@K", NUMBER, "job", "there, of next-click tasks: how often a positive is among the K best"),
    UserAttribute("ndcg@K", NUMBER, "job", "the same, weighted by its rank"),
    UserAttribute("mrr", NUMBER, "job", "and the mean of one over its rank among all its candidates"),
    UserAttribute("monitor", (str,), "job", "training.monitor; absent, as the next two, if that is val_auc"),
    UserAttribute("val_auc", NUMBER, "job", "the AUC on validation rows at the best epoch"),
    UserAttribute("val_gauc", NUMBER, "job", "the gAUC on validation rows at the best epoch"),
    UserAttribute("epoch_seconds", NUMBER, "job", "seconds of the best epoch"),
    UserAttribute(
        OUTCOME, (dict,), "job", "state and values, for the case that the sweep's process is gone when the job ends"
    ),
    UserAttribute(DIED, (str,), "sweep", "why the trial was given up"),
    UserAttribute(
        INTERRUPTED, (str,), "sweep or job", "why the job was interrupted; null if it went on after the interruption"
    ),
    UserAttribute(WITHDRAWN, (str,), "sweep", "why the trial ended before it began: another trial replaces it"),
    UserAttribute(RETRY, (dict,), "sweep", "the trial is to be tried again, with these user attributes"),
    UserAttribute(ERROR, (str,), "sweep or job", "type and message of the exception that made the trial fail"),
    UserAttribute(TRACEBACK, (str,), "sweep or job", "the traceback of that exception"),
    UserAttribute(
        FAILED_BY,
        (str,),
        "sweep or job",
        "point: it diverged, and would again; typed: an override is wrong; else absent",
    ),
    UserAttribute(
        MAX_DEATHS, (int, str), "sweep", "how often a point may die before it is not retried; inf: any", "study"
    ),
    UserAttribute(OBJECTIVE, (str,), "sweep", "the objectives, their directions, the constraints, as JSON", "study"),
    UserAttribute(MEANINGS, (str,), "sweep", "parameter -> what it sets, as JSON", "study"),
    UserAttribute(CONFIG, (str,), "sweep", "the config of every job without the searched parameters, as JSON", "study"),
    UserAttribute(DATA_HASH, (str,), "job", "the hash of the prepared store that all trials train on", "study"),
    UserAttribute(N_TRIALS, (int,), "sweep", "how many trials the latest sweep of the study is to reach", "study"),
    UserAttribute(
        FAILED_TRIALS, (str,), "sweep", "whether failed trials count among these: count or replaced", "study"
    ),
    UserAttribute(RACE_SEEDS, (list,), "sweep", "the seeds that a race may run a point on", "study"),
    UserAttribute(RACE_RUNS, (int,), "sweep", "the total of runs that the latest sweep of a race is to reach", "study"),
    UserAttribute(
        CONFIRMS, (str,), "sweep", "the study whose points these trials run on fresh seeds, for a verdict", "study"
    ),
    UserAttribute(
        "typed_with", (dict,), "sweep", "the program that began the study, and its config folder and name", "study"
    ),
)

#: The types of a trial's user attributes. An attribute with a value of another type was written by another program.
TYPES = {attribute.name: attribute.types for attribute in USER_ATTRIBUTES if attribute.of == "trial"}
_PLAIN = {int, float, str}  # types whose values need no further look
_WORDS = {list: "a list of texts", dict: "a mapping", int: "a whole number", str: "a text", float: "a number"}


def as_markdown() -> str:
    """The table of all user attributes, as docs/reference/user-attributes.md holds it."""
    lines = ["| attribute | of a | type | written by the | meaning |", "|---|---|---|---|---|"]
    for a in USER_ATTRIBUTES:
        kind = " or ".join(kind.__name__ for kind in a.types)
        lines.append(f"| `{a.name}` | {a.of} | {kind} | {a.writer} | {a.meaning} |")
    return "\n".join(lines)


def complaint(attributes: Mapping[str, Any]) -> str | None:
    """Which attribute of a trial is not of the type that this program writes, and what was found; None if all are."""
    for name, value in attributes.items():
        kinds = TYPES.get(name)
        if kinds is None or (type(value) in kinds and type(value) in _PLAIN):
            continue
        fits = value is None or (isinstance(value, kinds) and not isinstance(value, bool))
        if isinstance(value, list) and kinds == (list,):
            fits = all(isinstance(text, str) for text in value)
        if name == RETRY and isinstance(value, dict) and (inner := complaint(value)) is not None:
            return f"its attribute {RETRY} is {value!r}: {inner}"
        if name == OUTCOME and isinstance(value, dict) and not _is_outcome(value):
            return f"its attribute {OUTCOME} is {value!r}, expected a state and a list of numbers as values"
        if not fits:
            return f"its attribute {name} is {value!r}, expected {_WORDS[kinds[-1]]}"
    return None


def _is_outcome(value: Mapping[str, Any]) -> bool:
    """Whether a job's own word of its end is as one writes it (``mdaf.sweeper.trials.attaching.link``)."""
    values = value.get("values", ())
    numbers = values is None or (isinstance(values, list) and all(isinstance(number, NUMBER) for number in values))
    return numbers and value.get("state") == ("PRUNED" if values is None else "COMPLETE")
