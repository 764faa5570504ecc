"""What the study query knows of a race's points: rows, records, words, and a study of one trial a point."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import optuna
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from mdaf.sweeper.study.filters import HEADINGS_OF_POINTS
from mdaf.sweeper.study.part import Part
from mdaf.sweeper.study.queries import Row, short_names, trials_of
from mdaf.sweeper.study.summaries import study_summary
from mdaf.sweeper.study.winners import count_of_points, point_record, raced_points
from mdaf.sweeper.trials.feasibility import is_feasible
from mdaf.sweeper.trials.user_attrs import POINT, RACE_RUNS

if TYPE_CHECKING:
    from mdaf.sweeper.racing.points import Group, Point

STATES = ("complete", "pruned", "fail", "running", "waiting")
FIGURES = ("runs", "mean", "standard_error", "posterior_mean", "posterior_sd", "feasible", "diverged")
COMPARED = ("name", "runs", "mean", "standard_error", "posterior_mean")  # in every table for people
MOST_NAMED = 6  # trials or seeds of a point, in a line for people


def point_columns(study: Study) -> list[str]:
    """id, name, the figures, params.*, seeds, values, trials, and the number of trials of each state."""
    names = sorted({name for group in _groups(study) for name in group.params})
    return ["id", "name", *FIGURES, *(f"params.{name}" for name in names), "seeds", "values", "trials", *STATES]


def point_rows(study: Study) -> list[Row]:
    """One row a point, the best by its posterior mean first, then those that break a constraint.

    Points without a finished run come last, in the order of their first trials.
    """
    groups = {group.id: group for group in _groups(study)}
    found = {point.id: point for point in raced_points(study)}
    names = sorted({name for group in groups.values() for name in group.params})
    order = [*found, *(key for key in groups if key not in found)]
    return [_row(groups[key], found.get(key), names) for key in order]


def race_record(study: Study) -> dict[str, Any]:
    """The whole race: its summary, and a record of every point, in which ``params`` and ``states`` are mappings."""
    groups = {group.id: group for group in _groups(study)}
    records = [
        {
            **{name: row[name] for name in ("id", "name")},
            "params": dict(groups[row["id"]].params),
            **{name: row[name] for name in (*FIGURES, "seeds", "values", "trials")},
            "states": {state: row[state] for state in STATES},
        }
        for row in point_rows(study)
    ]
    head = {"optuna": optuna.__version__, **study_summary(study), "metric_names": study.metric_names}
    return head | {"points": records}


def study_of_points(study: Study) -> Part:
    """A study in memory in which each point of a race is one complete trial: its mean, at its first run's number."""
    points, runs = raced_points(study), {trial.number: trial for trial in trials_of(study)}
    return Part(study, [_as_trial(point, [runs[number] for number in point.trials]) for point in points], points)


def row_for_people(row: Row) -> Row:
    """A point's row with its seeds and trials as a short text."""
    return row | {name: listed(row[name]) for name in ("seeds", "trials")}


def compared(rows: Sequence[Row]) -> dict[str, str]:
    """The columns that every table of points begins with, with headings."""
    held = [name for name in COMPARED if name != "name" or any(row["name"] for row in rows)]
    return {name: HEADINGS_OF_POINTS.get(name, name) for name in held}


def columns_for_people(rows: Sequence[Row]) -> dict[str, str]:
    """Columns of the table of points, with headings: those that compare points and hold anything."""
    params = [name for row in rows[:1] for name in row if name.startswith("params.")]
    states = [state for state in STATES[1:] if any(row[state] for row in rows)]
    broken = [] if all(row["feasible"] for row in rows) else ["feasible"]
    return {
        **compared(rows),
        **short_names(params),
        **{name: name for name in (*broken, "seeds", "trials", *states)},
    }


def in_words(point: Point) -> str:
    """A point in words: its name, seeds and trials, its mean with the standard error, and what to expect."""
    one = len(point.trials) == 1
    seeds = f"seed{'' if one else 's'} {listed(point.seeds, ', ')}"
    trials = f"trial{'' if one else 's'} {listed(point.trials, ', ')}"
    error = "" if point.standard_error is None else f" ± {point.standard_error:.4f}"
    name = f"point {point.name}, " if point.name else ""
    expected = f"a further run is expected to give {point.posterior_mean:.4f}"
    return f"{name}{seeds} ({trials}), mean {point.mean:.4f}{error}, {expected}"


def listed(numbers: Sequence[int | None], between: str = " ") -> str:
    """Numbers as a short text; a seed that nobody recorded is a question mark."""
    texts = ["?" if number is None else str(number) for number in numbers]
    more = len(texts) - MOST_NAMED
    return between.join(texts) if more <= 0 else f"{between.join(texts[:MOST_NAMED])}{between}and {more} more"


def progress(study: Study) -> str:
    """How many points a race has tried, and how many of its runs have ended with a value."""
    done = len(trials_of(study, TrialState.COMPLETE, TrialState.PRUNED))
    total = study.user_attrs.get(RACE_RUNS)
    of = f" of {total}" if isinstance(total, int) and not isinstance(total, bool) else ""
    tried = count_of_points(study)
    return f"{tried} point{'' if tried == 1 else 's'}, {done}{of} runs"


def _groups(study: Study) -> list[Group]:
    from mdaf.sweeper.racing.points import grouped  # and with it numpy, which no other question needs

    return grouped(trials_of(study))


def _row(group: Group, point: Point | None, names: Sequence[str]) -> Row:
    known = point_record(point) or dict.fromkeys(FIGURES) | {"seeds": [], "values": [], "trials": [], "runs": 0}
    known |= {"feasible": group.feasible, "diverged": len(group.diverged)}
    states = Counter(trial.state.name.lower() for trial in group.every)
    return {
        "id": group.id,
        "name": group.name,
        **{name: known[name] for name in FIGURES},
        **{f"params.{name}": group.params.get(name) for name in names},
        **{name: known[name] for name in ("seeds", "values", "trials")},
        **{state: states[state] for state in STATES},
    }


def _as_trial(point: Point, runs: Sequence[FrozenTrial]) -> FrozenTrial:
    one = copy.copy(next((run for run in runs if not is_feasible(run)), runs[0]))
    one.number, one.values = point.trials[0], [point.mean]
    one.user_attrs = {} if point.name is None else {POINT: point.name}
    one.intermediate_values = {}
    return one
