"""What is known of a study as a whole: its row in a list of studies, its summary, its record, its importances."""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.study import Study
from optuna.trial import TrialState

from mdaf.sweeper.storage.late_reads import attribute
from mdaf.sweeper.storage.optuna_internals import importances_of
from mdaf.sweeper.study.queries import QueryError, Row, counts, last_activity, objective, trial_record, trials_of
from mdaf.sweeper.study.winners import count_of_points, is_race, point_record, raced_points, ranked
from mdaf.sweeper.trials.user_attrs import OVERRIDES


def study_rows(studies: Sequence[Study]) -> list[Row]:
    """One row a study: name, direction, number of trials by state, best value and its trial, last activity.

    Then ``points`` and ``best_point`` of a race, which are None for any other study.
    """
    rows = []
    for study in studies:
        points = raced_points(study)
        best = next(iter(ranked(study, points)), None)
        found = counts(study)
        rows.append(
            {
                "study": study.study_name,
                "direction": ",".join(direction.name.lower() for direction in study.directions),
                "trials": sum(found.values()),
                **{state.lower(): number for state, number in found.items()},
                "best_value": None if best is None else objective(best),
                "best_trial": None if best is None else best.number,
                "last_activity": last_activity(study),
                "points": count_of_points(study) if is_race(study) else None,
                "best_point": point_record(points[0]) if points and points[0].feasible else None,
            }
        )
    return rows


def study_summary(study: Study) -> dict[str, Any]:
    """Name, directions, counts, best, times, search space, overrides common to all trials, and user attributes.

    ``search_space`` is that of the latest trial which has the parameter; ``changed_intervals`` names the parameters
    whose interval was another one in earlier trials. ``varying_overrides`` are those that not every trial has.
    """
    trials = trials_of(study)
    space: dict[str, BaseDistribution] = {}
    changed = set()
    for trial in trials:
        for name, distribution in trial.distributions.items():
            if space.setdefault(name, distribution) != distribution:
                changed.add(name)
            space[name] = distribution
    given = [said for trial in trials if isinstance(said := attribute(trial, OVERRIDES), list)]
    uses = Counter(override for overrides in given for override in dict.fromkeys(overrides))
    row = study_rows([study])[0]
    starts = [trial.datetime_start for trial in trials if trial.datetime_start]
    return {
        "study": study.study_name,
        "direction": row["direction"],
        "counts": counts(study),
        "best_value": row["best_value"],
        "best_trial": row["best_trial"],
        "first_start": min(starts, default=None),
        "last_activity": row["last_activity"],
        **({name: row[name] for name in ("points", "best_point")} if row["points"] is not None else {}),
        "search_space": {name: json.loads(distribution_to_json(space[name])) for name in sorted(space)},
        "changed_intervals": sorted(changed),
        "fixed_overrides": [override for override, used in uses.items() if used == len(given)],
        "varying_overrides": [override for override, used in uses.items() if used < len(given)],
        "user_attrs": dict(study.user_attrs),
    }


def interval(distribution: dict[str, Any]) -> str:
    """A distribution, as in ``search_space``, in words: ``float in [0.15, 0.35]``."""
    attributes = distribution["attributes"]
    if "choices" in attributes:
        return "one of " + ", ".join(str(choice) for choice in attributes["choices"])
    kind = distribution["name"].removesuffix("Distribution").lower()
    text = f"{kind} in [{attributes['low']}, {attributes['high']}]"
    if attributes.get("log"):
        text += ", log"
    if attributes.get("step") not in (None, 1 if kind == "int" else None):
        text += f", step {attributes['step']}"
    return text


def study_record(study: Study) -> dict[str, Any]:
    """The whole study: its summary, its system attributes, and every trial."""
    return {
        "optuna": optuna.__version__,
        **study_summary(study),
        "metric_names": study.metric_names,
        "trials": [trial_record(trial) for trial in trials_of(study)],
    }


def importances(study: Study) -> dict[str, float]:
    """PED-ANOVA importance of each parameter, the greatest first; they sum to 1."""
    completed = len(trials_of(study, TrialState.COMPLETE))
    if completed < 2:
        what = "points with a finished run" if raced_points(study) else "complete trials"
        raise QueryError(f"study {study.study_name!r} has {completed} {what}; importances need at least 2")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = importances_of(study)
        except (ValueError, RuntimeError, TypeError) as error:  # another program's choices may be mappings
            raise QueryError(f"study {study.study_name!r} has no importances: {str(error).splitlines()[0]}") from error
    if not found:
        raise QueryError(f"study {study.study_name!r} has no importances: no parameter varies")
    return found
