"""What the study query knows: pure functions from an Optuna study to rows and records.

A row is a dict with the same keys, in the same order, in all rows of one answer; None is "not there". Values are as
Optuna returns them: writing them down, and masking passwords, is ``mdaf.sweeper.study.output``.
"""

from __future__ import annotations

import json
import math
import warnings
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution, distribution_to_json
from optuna.storages import BaseStorage
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from mdaf.errors import UserError, did_you_mean
from mdaf.sweeper.runs.metric_columns import RECORDED
from mdaf.sweeper.storage.optuna_internals import pareto_front, storage_of, trial_id_of
from mdaf.sweeper.study.part import Part
from mdaf.sweeper.trials.feasibility import is_feasible
from mdaf.sweeper.trials.retries import point_of
from mdaf.sweeper.trials.same_point import point_id_of
from mdaf.sweeper.trials.user_attrs import ADDED, CONFIRMS, POINT_ID, WITHDRAWN, sound

if TYPE_CHECKING:
    from mdaf.sweeper.racing.points import Point

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
EDGE_SHARE = 0.02  # of an interval's width: nearer to its end than this is "on the edge"


class QueryError(UserError):
    """A question that the storage can't answer; the message is one line."""


# ---- studies


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
    given = [trial.user_attrs["overrides"] for trial in trials if isinstance(trial.user_attrs.get("overrides"), list)]
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


# ---- trials


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
    others = sorted({name for trial in trials for name in trial.user_attrs} - set(ATTRIBUTES))
    first = ["number", "state", *_value_columns(study), *(f"params.{name}" for name in params)]
    last = ["datetime_start", "datetime_complete", "duration"]
    taken = {*first, *last}
    return [*first, *ATTRIBUTES, *(f"attrs.{name}" if name in taken else name for name in others), *last]


def trial_rows(study: Study) -> list[Row]:
    """One row a trial, with the ``trial_columns``; times are local, the duration in seconds."""
    columns = trial_columns(study)
    return [_trial_row(trial, columns, _value_columns(study)) for trial in trials_of(study)]


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


def study_record(study: Study) -> dict[str, Any]:
    """The whole study: its summary, its system attributes, and every trial."""
    return {
        "optuna": optuna.__version__,
        **study_summary(study),
        "metric_names": study.metric_names,
        "trials": [trial_record(trial) for trial in trials_of(study)],
    }


# ---- the best


def ranked(study: Study, points: Sequence[Point] | None = None) -> list[FrozenTrial]:
    """Completed trials that meet the study's constraints, the best first; the Pareto front of several objectives.

    Of a race: the first run of each point, the points by their posterior means; then all further runs. A point with a
    run that breaks a constraint is left out. ``points`` are the study's, where they are known.
    """
    feasible = [trial for trial in trials_of(study, TrialState.COMPLETE) if is_feasible(trial)]
    if len(study.directions) > 1:
        return pareto_front(feasible, study.directions)
    if found := raced_points(study) if points is None else points:
        runs = {trial.number: trial for trial in feasible}
        held = [some for point in found if point.feasible and (some := [runs[n] for n in point.trials if n in runs])]
        inside = {number for point in found for number in point.trials}
        copies = [trial for trial in feasible if trial.number not in inside]  # of another run's value
        return [some[0] for some in held] + [trial for some in held for trial in some[1:]] + (copies if held else [])
    sign = -1 if study.direction == StudyDirection.MAXIMIZE else 1
    return sorted(feasible, key=lambda trial: (sign * trial.values[0], trial.number))


def raced_points(study: Study) -> list[Point]:
    """The points of a study that a race searched, the best by their posterior means first; [] for any other study.

    Only points with a finished run.
    """
    if isinstance(study, Part) or not is_race(study):
        return study.points if isinstance(study, Part) else []
    from mdaf.sweeper.racing.points import points  # and with it numpy, which no other question needs

    return points(trials_of(study), maximize=study.direction == StudyDirection.MAXIMIZE)


def is_race(study: Study) -> bool:
    """Whether several trials of the study may be runs of one point, and it is asked about its points."""
    if isinstance(study, Part):
        return bool(study.points)
    return len(study.directions) == 1 and any(POINT_ID in trial.user_attrs for trial in trials_of(study))


def count_of_points(study: Study) -> int:
    """How many points have been begun."""
    begun = [trial for trial in trials_of(study) if WITHDRAWN not in trial.user_attrs and point_of(trial)]
    return len({point_id_of(trial) for trial in begun})


def best_records(study: Study, top: int) -> list[dict[str, Any]]:
    """The best ``top`` trials: number, value, params, run_dir, overrides, left_out, command, edges, point.

    ``point`` is None but in a race. There the best ``top`` points are meant, each by its first finished run.

    ``left_out`` are overrides that a study may not say, each with the reason (``mdaf.sweeper.trials.admitted``).
    """
    from mdaf.sweeper.hydra_ext.config_sources import ORIGIN, for_a_single_run, is_ours, rerun_command
    from mdaf.sweeper.trials.admitted import sorted_out  # and with it Hydra's parser, which no other question needs

    points = raced_points(study)
    best = ranked(study, points)[: min(top, sum(point.feasible for point in points)) if points else top]
    if not best:
        completed = len(trials_of(study, TrialState.COMPLETE))
        reason = f"none of its {completed} meets the constraints" if completed else "no trial is complete"
        raise QueryError(f"study {study.study_name!r} has no best trial: {reason}")
    records, origin = [], study.user_attrs.get(ORIGIN)
    point_of_run = {number: point for point in points for number in point.trials}
    for trial in best:
        said = rerun_overrides(trial, ours=is_ours(origin))
        taken, left_out = sorted_out(said, study.study_name, own=is_ours(origin))
        overrides = [*for_a_single_run(origin), *taken]
        records.append(
            {
                "number": trial.number,
                "value": objective(trial),
                "params": dict(trial.params),
                "run_dir": trial.user_attrs.get("run_dir"),
                "overrides": overrides,
                "left_out": left_out,
                "command": rerun_command(origin, overrides),
                "edges": edges(trial),
                "point": point_record(point_of_run.get(trial.number)),
            }
        )
    return records


def point_record(point: Point | None) -> dict[str, Any] | None:
    """What is known of a point, as ``mdaf.sweeper.racing.points.Point`` explains it. ``runs`` is how many finished."""
    if point is None:
        return None
    figures = ("mean", "standard_error", "posterior_mean", "posterior_sd", "feasible", "diverged")
    return {
        "id": point.id,
        "name": point.name,
        "runs": len(point.trials),
        **{name: getattr(point, name) for name in figures},
        **{name: list(getattr(point, name)) for name in ("trials", "seeds", "values")},
    }


def edges(trial: FrozenTrial) -> dict[str, str]:
    """The parameters that lie on an edge of their interval, with that edge: ``low`` or ``high``.

    A continuous one does when it is within ``EDGE_SHARE`` of the width (the width of the logarithm where it was
    searched so), one with steps when it is the first or the last step.
    """
    found = {}
    for name, distribution in trial.distributions.items():
        if not isinstance(distribution, FloatDistribution | IntDistribution) or distribution.single():
            continue
        value, low, high = (float(number) for number in (trial.params[name], distribution.low, distribution.high))
        if not low <= value <= high:  # Optuna takes a point that was put in line as it is
            continue
        if distribution.step is not None:
            margin = 0.5 * distribution.step
        else:
            if distribution.log:
                value, low, high = math.log(value), math.log(low), math.log(high)
            margin = EDGE_SHARE * (high - low)
        if min(value - low, high - value) < margin:
            found[name] = "low" if value - low < high - value else "high"
    return found


def rerun_overrides(trial: FrozenTrial, *, ours: bool = True) -> list[str]:
    """Hydra overrides that run the trial's point again, alone: its fixed ones, then its parameters.

    What ties a job of this program to its study (``sweep.*``) is left out, and so is a fixed override of a searched
    key. ``ours``: whether the study is of this program, not of another one with keys of its own below ``sweep``.
    """
    from mdaf.sweeper.hydra_ext.overrides import (  # and with them Hydra's parser, which no other question needs
        key_of,
        override_text,
    )

    def is_about_study(key: str) -> bool:
        return ours and key.startswith("sweep.")

    said, added = trial.user_attrs.get("overrides"), trial.user_attrs.get(ADDED)
    fixed = [
        override
        for override in (said if isinstance(said, list) else [])
        if isinstance(override, str) and not is_about_study(key := key_of(override)) and key not in trial.params
    ]
    signs = {name: sign for name, sign in added.items() if sign in ("+", "++")} if isinstance(added, dict) else {}
    searched = [override_text(f"{signs.get(name, '')}{name}", value) for name, value in trial.params.items()]
    return [*fixed, *searched]


def importances(study: Study) -> dict[str, float]:
    """PED-ANOVA importance of each parameter, the greatest first; they sum to 1."""
    completed = len(trials_of(study, TrialState.COMPLETE))
    if completed < 2:
        what = "points with a finished run" if raced_points(study) else "complete trials"
        raise QueryError(f"study {study.study_name!r} has {completed} {what}; importances need at least 2")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = optuna.importance.get_param_importances(study)
        except (ValueError, RuntimeError, TypeError) as error:  # another program's choices may be mappings
            raise QueryError(f"study {study.study_name!r} has no importances: {str(error).splitlines()[0]}") from error
    if not found:
        raise QueryError(f"study {study.study_name!r} has no importances: no parameter varies")
    return found
