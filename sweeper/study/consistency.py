"""Whether a study says what its runs left: each trial's value and attributes beside the files of its run folder."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from mdaf.errors import UserError
from mdaf.sweeper.runs.metric_columns import MONITOR, RECORDED, EpochMetrics, ranking_in
from mdaf.sweeper.runs.reader import CONFIG, RESULT, read_run
from mdaf.sweeper.study.queries import trials_of
from mdaf.sweeper.trials.admitted import run_folder
from mdaf.sweeper.trials.points.space import key_of
from mdaf.sweeper.trials.user_attrs import OBJECTIVE, SAME_RUN_AS

RELATIVE = 1e-9  # databases may round the last digit
FROM_THE_RESULT = ("best_epoch", "monitor", "config_hash", "data_hash", "seed")


@dataclass(frozen=True)
class Difference:
    """What a study says of a trial, and what the file of its run says instead."""

    trial: int
    what: str
    stored: Any
    file: str
    found: Any

    def __str__(self) -> str:
        return f"trial {self.trial}: the study says {self.what} {_shown(self.stored)}, {self.file} {_shown(self.found)}"


class AttributeOnly(Difference):
    """A difference that leaves a trial's value and its parameters as they are."""


def check_study(study: Study) -> tuple[list[Difference | UserError], list[int]]:
    """What differs, trial by trial; and the numbers of the trials whose run folders are not here to be compared."""
    found: list[Difference | UserError] = []
    absent = []
    for trial in trials_of(study, TrialState.COMPLETE, TrialState.PRUNED):
        here = check_trial(study, trial)
        if here is None:
            absent.append(trial.number)
        else:
            found += here
    return found, absent


def check_trial(study: Study, trial: FrozenTrial, roots: Sequence[Path] = ()) -> list[Difference | UserError] | None:
    """What differs between a finished trial and its run folder; None where that is not here or below ``roots``.

    A file that is damaged is a difference too: the ``UserError`` that says so.
    """
    folder = run_folder(trial.user_attrs.get("run_dir"), roots)
    if folder is None or not folder.is_dir():
        return None
    try:
        run = read_run(folder, ("state", "trial", "best_epoch"))
        if not run.result:
            return [Difference(trial.number, "run_dir", str(folder), str(folder / RESULT), "is not there")]
        history = run.history
        config = run.config if (folder / CONFIG).exists() else OmegaConf.create({})
    except UserError as error:
        return [UserError(f"trial {trial.number}: {error}")]
    return [
        (AttributeOnly if what in trial.user_attrs else Difference)(
            trial.number, what, stored, str(folder / file), value
        )
        for what, stored, file, value in _compared(study, trial, run.result, history, config)
        if not _same(stored, value)
    ]


def _compared(
    study: Study, trial: FrozenTrial, result: Mapping[str, Any], history: list[EpochMetrics], config: DictConfig
) -> Iterator[tuple[str, Any, str, Any]]:
    """Name, the study's value, the file that knows it too, and the file's value."""
    states = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned"}
    yield "trial", trial.user_attrs.get(SAME_RUN_AS, trial.number), RESULT, result["trial"]
    yield "state", states[trial.state], RESULT, result["state"]
    names = objectives_of(study)
    best: EpochMetrics = next((row for row in history if row["epoch"] == result["best_epoch"]), {})
    if trial.state is TrialState.COMPLETE:
        for name, value in zip(names, trial.values, strict=False):
            yield f"the value ({name})", value, "metrics.csv", best.get(name)
    if len(study.directions) == 1:
        by_epoch = {row["epoch"]: row.get(names[0]) for row in history}
        for epoch, value in trial.intermediate_values.items():
            yield f"{names[0]} of epoch {epoch}", value, "metrics.csv", by_epoch.get(epoch)
    for name in (*RECORDED, *ranking_in([best])):
        if name in trial.user_attrs:
            yield name, trial.user_attrs[name], "metrics.csv", best.get(name)
    for name in FROM_THE_RESULT:
        if name in trial.user_attrs and name in result:
            yield name, trial.user_attrs[name], RESULT, result[name]
    for name, value in trial.params.items():
        used = _value_in(config, key_of(name))
        if isinstance(used, int | float) and isinstance(value, int | float):  # an option of a group is no value
            yield name, value, str(CONFIG), used


def objectives_of(study: Study) -> list[str]:
    """The metrics that the study's values are."""
    return _recorded_objectives(study) or [MONITOR]


def names_of_values(study: Study) -> list[str]:
    """What each value of a trial is, for people: as the study says it, else ``value``."""
    many = len(study.directions)
    unnamed = ["value"] if many == 1 else [f"value {index}" for index in range(many)]
    names = study.metric_names or _recorded_objectives(study)
    return list(names) if len(names) == many else unnamed


def _recorded_objectives(study: Study) -> list[str]:
    try:
        names = json.loads(study.user_attrs.get(OBJECTIVE) or "{}").get("names")
    except (AttributeError, TypeError, ValueError):
        names = None
    return [str(name) for name in names] if isinstance(names, list) else []


def _value_in(config: DictConfig, key: str) -> Any:
    try:
        return OmegaConf.select(config, key)
    except OmegaConfBaseException:
        return None


def _same(stored: Any, found: Any) -> bool:
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (stored, found))
    with suppress(OverflowError):  # a whole number that no float can hold
        return math.isclose(stored, found, rel_tol=RELATIVE) if numbers else bool(stored == found)
    return bool(stored == found)


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)
