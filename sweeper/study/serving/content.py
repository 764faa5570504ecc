"""What the live page shows of a study: plain values for JSON, read from the database at each refresh."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from mdaf.messages.secrets import masked_text
from mdaf.pages.palette import BEST, OTHER, colours_of
from mdaf.sweeper.storage.late_reads import attribute
from mdaf.sweeper.study import points, queries, winners
from mdaf.sweeper.study.consistency import names_of_values
from mdaf.sweeper.study.pictures.excerpt import MOST_EPOCHS, evenly, improving
from mdaf.sweeper.trials.user_attrs import POINT
from mdaf.terminal.printable import in_a_line

MOST_ROWS = 20  # points or trials of the table, and of the picture of points
MOST_CURVES = 60
MOST_VALUES = 2000  # of the picture of all values


def snapshot(url: str, name: str | None) -> dict[str, Any]:
    """The studies of a database, and the named one; without a name the most recently active one.

    Raises what reading a database raises: ``QueryError`` for a study that is not there, ``StorageAwayError`` and errors
    of the driver where the database does not answer.
    """
    storage = queries.open_to_ask(url)
    studies = queries.load_studies(storage)
    if not studies:
        return {"studies": [], "study": None}
    chosen = queries.load_study(storage, name) if name is not None else queries.most_recent_study(studies)
    return {"studies": [study.study_name for study in studies], "study": _of(chosen)}


def _of(study: Study) -> dict[str, Any]:
    several = len(study.directions) > 1
    race = winners.is_race(study)
    trials = queries.trials_of(study)
    names = [str(name) for trial in trials if (name := attribute(trial, POINT))]
    colours = colours_of(names)
    best = winners.ranked(study)
    rows = _points(study, colours) if race else [_row(trial, colours, best) for trial in best[:MOST_ROWS]]
    return {
        "name": study.study_name,
        "objective": " and ".join(names_of_values(study)),
        "direction": " and ".join(direction.name.lower() for direction in study.directions),
        "counts": queries.counts_in_words(study),
        "progress": points.progress(study) if race else f"{len(trials)} trials",
        "race": race,
        "rows": rows,
        "curves": [] if several else _curves(trials, colours, best),
        "values": [] if several else _values(study, trials),
    }


def _points(study: Study, colours: Mapping[str, str]) -> list[dict[str, Any]]:
    """The points of a race, the best by its posterior mean first: their seeds and values, and what is expected."""
    found = [point for point in winners.raced_points(study) if point.feasible][:MOST_ROWS]
    return [
        {
            "name": in_a_line(point.name or f"trial {point.trials[0]}"),
            "colour": colours.get(str(point.name), BEST if rank == 0 else OTHER),
            "params": _params(dict(point.params)),
            "seeds": ["?" if seed is None else seed for seed in point.seeds],
            "values": list(map(_number, point.values)),
            "mean": _number(point.mean),
            "error": _number(point.standard_error),
            "expected": _number(point.posterior_mean),
            "spread": _number(point.posterior_sd),
        }
        for rank, point in enumerate(found)
    ]


def _row(trial: FrozenTrial, colours: Mapping[str, str], best: list[FrozenTrial]) -> dict[str, Any]:
    name = attribute(trial, POINT)
    return {
        "name": in_a_line(f"trial {trial.number}" + (f", {name}" if name else "")),
        "colour": colours.get(str(name), BEST if trial.number == best[0].number else OTHER),
        "params": _params(trial.params),
        "seeds": [],
        "values": [_number(value) for value in trial.values],
        "mean": _number(trial.values[0]),
        "error": None,
        "expected": None,
        "spread": None,
    }


def _curves(trials: list[FrozenTrial], colours: Mapping[str, str], best: list[FrozenTrial]) -> list[dict[str, Any]]:
    """Learning curves: those that have a name, the best, what runs now, and others evenly."""
    held = [trial for trial in trials if trial.intermediate_values]
    first = best[0].number if best else None
    marked = [t for t in held if t.number == first or attribute(t, POINT) or t.state is TrialState.RUNNING]
    marked = evenly(marked, MOST_CURVES // 2)
    others = [trial for trial in held if trial not in marked]
    drawn = [*evenly(others, MOST_CURVES - len(marked)), *marked]
    return [
        {
            "name": f"trial {trial.number}",
            "state": trial.state.name.lower(),
            "known": in_a_line(attribute(trial, POINT) or ("best" if trial.number == first else "")),
            "colour": colours.get(str(attribute(trial, POINT)), BEST if trial.number == first else OTHER),
            "points": [
                [epoch, trial.intermediate_values[epoch]]
                for epoch in evenly(sorted(trial.intermediate_values), MOST_EPOCHS)
                if math.isfinite(trial.intermediate_values[epoch])
            ],
        }
        for trial in drawn
    ]


def _values(study: Study, trials: list[FrozenTrial]) -> list[list[float]]:
    """Number and value of each complete trial; of too many, those that were the best when they came, others evenly."""
    held = [trial for trial in trials if _finite(trial) is not None]
    if len(held) > MOST_VALUES:
        best = evenly(list(improving(study, held)), MOST_VALUES // 2)
        numbers = {trial.number for trial in best}
        others = [trial for trial in held if trial.number not in numbers]
        held = sorted([*best, *evenly(others, MOST_VALUES - len(best))], key=lambda trial: trial.number)
    return [[trial.number, trial.values[0]] for trial in held]


def _params(params: Mapping[str, Any]) -> dict[str, str]:
    headings = queries.short_names(list(params))
    return {
        in_a_line(headings[name]): f"{value:.5g}" if isinstance(value, float) else in_a_line(masked_text(str(value)))
        for name, value in params.items()
    }


def _finite(trial: FrozenTrial) -> float | None:
    return _number(trial.values[0]) if trial.state is TrialState.COMPLETE and trial.values else None


def _number(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
