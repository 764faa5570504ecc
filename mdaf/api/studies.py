"""A study's points as a data frame, and sweeps that make one. No torch and none of this program's own runs."""

from __future__ import annotations

import math
import os
import statistics
from collections import Counter
from typing import TYPE_CHECKING, Any

from mdaf.api.command import outcome_of
from mdaf.api.overrides import Overrides, words_of
from mdaf.errors import UserError
from mdaf.extras import imported, require
from mdaf.messages.secrets import masked

if TYPE_CHECKING:
    import pandas as pd
    from optuna.study import Study

    from mdaf.sweeper.racing.points import Group, Point

SWEEPER = "hydra/sweeper="
STORAGE_VARIABLE = "MDAF_STORAGE"
FIGURES = ("mean", "error", "runs", "posterior_mean", "posterior_sd", "seeds", "values", "trials", "feasible")
STATES = ("complete", "pruned", "fail", "running", "waiting")


def sweep(overrides: Overrides = (), *, quiet: bool = False) -> pd.DataFrame:
    """Runs a sweep and returns its points. See `mdaf.sweep`."""
    require("ctr", "mdaf.sweep")
    words = words_of(overrides)
    chosen = next((word for word in words if word.startswith(SWEEPER)), None)
    if chosen == f"{SWEEPER}basic":
        raise UserError(
            f"{chosen}: a grid of runs has no study; type {SWEEPER}regularization, or call mdaf.run for each"
        )
    if chosen is None:
        words = [f"{SWEEPER}regularization", *words]
    found = outcome_of("mdaf.sweeper", ["-m", *words], quiet=quiet)
    if found.get("storage") is None:
        raise UserError("hydra.sweeper.storage: found null, expected a database that keeps the study: leave it out")
    return study(found["study"], found["storage"])


def study(name: str | None = None, storage: str | None = None) -> pd.DataFrame:
    """The points of a study as a data frame. See `mdaf.study`."""
    from mdaf.sweeper.storage.opening import open_storage
    from mdaf.sweeper.study import queries

    for what, given in (("name", name), ("storage", storage)):
        check_text(what, given)
    pandas = imported("pandas", "python", "mdaf.study")
    url = storage_of(storage)
    opened = open_storage(url, create=False, read_only=True)
    found = (
        queries.most_recent_study(queries.load_studies(opened)) if name is None else queries.load_study(opened, name)
    )
    rows = _rows(found)
    columns = list(dict.fromkeys(column for row in rows for column in row)) or ["point", *FIGURES]
    frame = pandas.DataFrame(rows, columns=columns)
    frame.attrs["study"] = found.study_name
    if masked(url) == url:  # a password stays where it was typed
        frame.attrs["storage"] = url
    return frame


def check_text(what: str, given: object) -> None:
    """UserError where an argument is neither a text nor None."""
    if not isinstance(given, str | None):
        raise UserError(f"{what}: found {given!r}, expected a text")


def storage_of(storage: str | None) -> str:
    """The storage that was given, or that of the environment, or the one that sweeps use by default."""
    from mdaf.sweeper.study.commands.options import DEFAULT_STORAGE

    return storage or os.environ.get(STORAGE_VARIABLE) or DEFAULT_STORAGE


def _rows(found: Study) -> list[dict[str, Any]]:
    """A row for each point, the best first; points without a finished run come last."""
    from optuna.study import StudyDirection

    from mdaf.sweeper.racing.points import grouped
    from mdaf.sweeper.study.queries import trials_of
    from mdaf.sweeper.study.winners import raced_points

    groups = {group.id: group for group in grouped(trials_of(found))}
    raced = {point.id: point for point in raced_points(found)}
    names = list(dict.fromkeys(name for group in groups.values() for name in group.params))
    rows = {key: _row(group, raced.get(key), len(found.directions), names) for key, group in groups.items()}
    if raced:
        return [rows[key] for key in [*raced, *(key for key in rows if key not in raced)]]
    if len(found.directions) > 1:
        return list(rows.values())
    sign = -1 if found.direction == StudyDirection.MAXIMIZE else 1

    def place(row: dict[str, Any]) -> tuple[bool, float]:
        return row["mean"] is None, 0.0 if row["mean"] is None else sign * row["mean"]

    return sorted(rows.values(), key=place)


def _row(group: Group, point: Point | None, objectives: int, names: list[str]) -> dict[str, Any]:
    from mdaf.sweeper.trials.points.same_point import seed_of

    finished = group.finished
    figures: dict[str, Any] = {}
    for index in range(objectives):
        of_it = "" if objectives == 1 else f"_{index}"
        values = [float(trial.values[index]) for trial in finished]
        figures[f"mean{of_it}"] = statistics.fmean(values) if values else None
        figures[f"error{of_it}"] = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
    states = Counter(trial.state.name.lower() for trial in group.every)
    return {
        "point": group.name,
        **figures,
        "runs": len(finished),
        "posterior_mean": None if point is None else point.posterior_mean,
        "posterior_sd": None if point is None else point.posterior_sd,
        "seeds": [seed_of(trial) for trial in finished],
        "values": [trial.values[0] if objectives == 1 else list(trial.values) for trial in finished],
        "trials": [trial.number for trial in finished],
        "feasible": group.feasible,
        **{state: states[state] for state in STATES},
        **{f"params.{name}": group.params.get(name) for name in names},
    }
