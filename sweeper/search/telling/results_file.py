"""Writes optimization_results.yaml to the sweep's folder at the end of a sweep, with upstream's keys and more."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import optuna
from omegaconf import OmegaConf
from optuna.trial import FrozenTrial, TrialState

from mdaf.errors import UserError
from mdaf.files.atomic import write_atomically
from mdaf.sweeper.search.telling.advice import study_command
from mdaf.sweeper.storage.opening import masked
from mdaf.sweeper.study.points import in_words
from mdaf.sweeper.study.winners import point_record, raced_points, ranked
from mdaf.sweeper.trials.outcome import shown
from mdaf.sweeper.trials.user_attrs import DIED, ERROR, WITHDRAWN

log = logging.getLogger(__name__)


def write_results(study: optuna.Study, folder: Path, storage: str | None, stopped: str | None) -> None:
    """Writes the best trial, or with several objectives the Pareto front, and logs it.

    The keys are upstream's, and further ones by which the winner can be found and run again. ``stopped`` is the reason
    why the sweep ended early, if it did. Raises UserError if no trial completed.
    """
    if not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        raise UserError(_no_result(study, storage))
    results: dict[str, Any] = {
        "name": "optuna",
        "study": study.study_name,
        "storage": None if storage is None else masked(storage),
        "stopped": stopped,
    }
    results |= _front(study) if len(study.directions) > 1 else _best(study)
    folder.mkdir(parents=True, exist_ok=True)
    text = OmegaConf.to_yaml(OmegaConf.create(results))
    write_atomically(folder / "optimization_results.yaml", lambda file: file.write(text.encode()))


def _no_result(study: optuna.Study, storage: str | None) -> str:
    """Why a study without a complete trial has no best one."""
    trials = [trial for trial in study.get_trials(deepcopy=False) if WITHDRAWN not in trial.user_attrs]
    failed = [trial for trial in trials if trial.state is TrialState.FAIL]
    said = f"study {study.study_name}: no trial completed, so there is no best one"
    if failed:
        last = failed[-1]
        kind, _, message = str(last.user_attrs.get(ERROR, "")).partition(": ")
        why = f"{message} ({kind})" if message else kind or last.user_attrs.get(DIED) or "no reason is recorded"
        said += f"; {len(failed)} of {len(trials)} failed, the last one, trial {last.number}: {why}"
    command = study_command("trials", study.study_name, storage)
    return said if command is None else f"{said}; what became of them: {command}"


def _best(study: optuna.Study) -> dict[str, Any]:
    points = raced_points(study)
    best = next(iter(ranked(study, points)), None)
    if best is None:
        log.warning("no trial meets the constraints, so there is no best one")
        return {"best_params": None, "best_value": None, "best_trial": None}
    if not points:
        log.info("best: trial %d, %.4f with %s", best.number, best.values[0], shown(best.params))
    else:
        log.info("best: %s: %s", in_words(points[0]), shown(best.params))
    return {
        "best_params": best.params,
        "best_value": best.values[0],
        "best_trial": best.number,
        **({"best_point": point_record(points[0])} if points else {}),
        **_origin(best),
    }


def _front(study: optuna.Study) -> dict[str, Any]:
    front = ranked(study)
    if not front:
        log.warning("no trial meets the constraints, so the Pareto front is empty")
    log.info("Pareto front: %d trials", len(front))
    for trial in front:
        values = ", ".join(f"{value:.4f}" for value in trial.values)
        log.info("    trial %d: %s with %s", trial.number, values, shown(trial.params))
    return {
        "solutions": [{"params": t.params, "values": t.values, "trial": t.number, **_origin(t)} for t in front],
    }


def _origin(trial: FrozenTrial) -> dict[str, Any]:
    return {name: trial.user_attrs.get(name) for name in ("run_dir", "seed", "overrides")}
