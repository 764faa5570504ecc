"""What won: the trials and points of a study in their order, and how to run the best of them again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from optuna.distributions import FloatDistribution, IntDistribution
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from mdaf.sweeper.storage.late_reads import holds
from mdaf.sweeper.storage.optuna_internals import pareto_front
from mdaf.sweeper.study.part import Part
from mdaf.sweeper.trials.feasibility import is_feasible
from mdaf.sweeper.trials.points.same_point import point_id_of
from mdaf.sweeper.trials.retries import point_of
from mdaf.sweeper.trials.user_attrs import ADDED, POINT_ID, WITHDRAWN

if TYPE_CHECKING:
    from mdaf.sweeper.racing.points import Point
from mdaf.sweeper.study.queries import QueryError, objective, trials_of

EDGE_SHARE = 0.02  # of an interval's width: nearer to its end than this is "on the edge"


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
    return len(study.directions) == 1 and any(holds(trial, POINT_ID) for trial in trials_of(study))


def count_of_points(study: Study) -> int:
    """How many points have been begun."""
    begun = [trial for trial in trials_of(study) if not holds(trial, WITHDRAWN) and point_of(trial)]
    return len({point_id_of(trial) for trial in begun})


def best_records(study: Study, top: int) -> list[dict[str, Any]]:
    """The best ``top`` trials: number, value, params, run_dir, overrides, left_out, command, edges, point.

    ``point`` is None but in a race. There the best ``top`` points are meant, each by its first finished run.

    ``left_out`` are overrides that a study may not say, each with the reason (``mdaf.sweeper.trials.admitted``).
    """
    from mdaf.sweeper.hydra_ext.configs.sources import ORIGIN, for_a_single_run, is_ours, rerun_command
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

    An interval that begins at 0 has no low edge: nothing lies beyond no dropout and no label smoothing.
    """
    found = {}
    for name, distribution in trial.distributions.items():
        if not isinstance(distribution, FloatDistribution | IntDistribution) or distribution.single():
            continue
        value, low, high = (float(number) for number in (trial.params[name], distribution.low, distribution.high))
        begins_at_zero = low == 0
        if not low <= value <= high:  # Optuna takes a point that was put in line as it is
            continue
        if distribution.step is not None:
            margin = 0.5 * distribution.step
        else:
            if distribution.log:
                value, low, high = math.log(value), math.log(low), math.log(high)
            margin = EDGE_SHARE * (high - low)
        if high - value < margin:
            found[name] = "high"
        elif value - low < margin and not begins_at_zero:
            found[name] = "low"
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
