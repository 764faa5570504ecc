"""What was tried: the commands ``list``, ``show``, ``trials`` and ``importance``."""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from optuna.study import Study
from optuna.trial import FrozenTrial

from mdaf.sweeper.study import filters, points, queries, summaries, winners
from mdaf.sweeper.study.commands.options import (
    DEFAULT_STORAGE,
    RecordFormat,
    SingleRuns,
    StorageUrl,
    StudyName,
    TextOrJson,
    choose,
)
from mdaf.sweeper.study.commands.output import (
    RowsFormat,
    has_room_for,
    json_text,
    note,
    print_below,
    print_record,
    print_table,
    say,
    write_rows,
)
from mdaf.sweeper.study.commands.won import warn_of_edges
from mdaf.sweeper.study.part import single_runs
from mdaf.sweeper.study.queries import QueryError
from mdaf.terminal.progress import working

# Columns of a narrow terminal's tables, the most important first.
_OF_THE_BEST_POINT = {name: f"best_{filters.HEADINGS_OF_POINTS.get(name, name)}" for name in points.COMPARED}
_IMPORTANT_OF_A_STUDY = (
    *("study", "points", "best_mean", "best_error", "best_runs", "best_expected"),
    *("trials", "best_value", "complete", "running", "fail", "best_trial", "last_activity"),
)
_MOST_ASKED_FOR = {"trials", "complete", "running", "fail", "best_mean", "best_value"}  # no terminal is too narrow
_OF_THE_BEST_EPOCH = ("best_epoch", "val_loss", "val_ece", "train_auc", "train_val_gap", "gate_mean")
_LEAST_OF_A_TRIAL = ("error", "duration", *_OF_THE_BEST_EPOCH, "run_dir")
# Columns of the table for people beside number, state, value and params: shown if any trial has them.
_OPTIONAL_COLUMNS = ("point", "run_dir", *_OF_THE_BEST_EPOCH, "duration", "error")


class State(str, Enum):  # noqa: UP042 - typer prints a str enum's value
    """A trial's state, in Optuna's words."""

    complete = "complete"
    pruned = "pruned"
    fail = "fail"
    running = "running"
    waiting = "waiting"


Conditions = Annotated[
    list[str] | None,
    typer.Option(
        "--where", metavar="CONDITION", help="Such as 'state==COMPLETE and dropout>0.2'; repeated: all must hold."
    ),
]
SortColumn = Annotated[
    str | None,
    typer.Option(
        "--sort", metavar="COLUMN", help="Ascending; -COLUMN descending. Default: number; points: the best first."
    ),
]


def list_studies(
    runs: SingleRuns = False, storage: StorageUrl = DEFAULT_STORAGE, form: TextOrJson = RecordFormat.table
) -> None:
    """The studies: trials by state, best value, last activity.

    Of a race also how many points it has, and the best one.
    """
    studies = queries.load_studies(queries.open_to_ask(storage))
    found = summaries.study_rows([single_runs(study) for study in studies] if runs else studies)
    if form is RecordFormat.json:
        say(json_text(found))
    elif found:
        rows = [_study_for_people(row) for row in found]
        raced, others = (any((row["points"] is None) == single for row in rows) for single in (False, True))
        hidden = [] if raced else ["points", *_OF_THE_BEST_POINT.values()]
        hidden += [] if others else ["best_value", "best_trial"]
        columns = {name: name for name in rows[0] if name not in hidden}
        if has_room_for(_MOST_ASKED_FOR, rows, columns, _IMPORTANT_OF_A_STUDY):
            print_table(rows, columns, _IMPORTANT_OF_A_STUDY)
        else:  # beside studies with long names
            keys = dict.fromkeys([*_IMPORTANT_OF_A_STUDY, *columns])
            shown = {name: name for name in keys if name in columns and name not in points.STATES}
            print_below([row | {"trials": _trials_in_words(row)} for row in rows], shown)
    else:
        note("the storage holds no study yet")


def _trials_in_words(row: queries.Row) -> str:
    """How many trials a study has in each state, as in ``11 (10 complete, 1 fail)``."""
    states = [f"{row[state]} {state}" for state in points.STATES if row[state]]
    return f"{row['trials']} ({', '.join(states)})" if states else "0"


def _study_for_people(row: queries.Row) -> queries.Row:
    """A study's row with the figures of a race's best point in place of the value of one of its runs."""
    point = row["best_point"] or {}
    single = {"best_value": None, "best_trial": None} if row["points"] is not None else {}
    kept = {name: value for name, value in row.items() if name not in ("last_activity", "best_point")} | single
    figures = {heading: point.get(name) for name, heading in _OF_THE_BEST_POINT.items()}
    return kept | figures | {"last_activity": row["last_activity"]}


def show(
    number: Annotated[int | None, typer.Argument(metavar="[N]", help="A trial's number; default: the study.")] = None,
    storage: StorageUrl = DEFAULT_STORAGE,
    study: StudyName = None,
    form: TextOrJson = RecordFormat.table,
) -> None:
    """A study's summary, or trial N whole."""
    chosen = choose(storage, study)
    if number is not None:
        record = queries.trial_record(queries.find_trial(chosen, number))
    else:
        record = summaries.study_summary(chosen)
        warn_of_edges(winners.best_records(chosen, 1) if record["best_trial"] is not None else [])
    if form is RecordFormat.json:
        say(json_text(record))
        return
    for name in ("search_space", "distributions"):
        if name in record:
            record[name] = {key: summaries.interval(kind) for key, kind in record[name].items()}
    if number is None:
        record["counts"] = {state.lower(): count for state, count in record["counts"].items() if count}
        for name in ("changed_intervals", "fixed_overrides", "varying_overrides"):
            record[name] = " ".join(record[name])
    print_record(record)


def trials(
    form: Annotated[RowsFormat, typer.Option("--format", help="parquet needs --output.")] = RowsFormat.table,
    output: Annotated[Path | None, typer.Option("--output", metavar="FILE", help="Instead of standard output.")] = None,
    state: Annotated[list[State] | None, typer.Option("--state", help="Only of this state; may be repeated.")] = None,
    where: Conditions = None,
    sort: SortColumn = None,
    limit: Annotated[int | None, typer.Option("--limit", min=0, metavar="N", help="Only the first N.")] = None,
    runs: SingleRuns = False,
    storage: StorageUrl = DEFAULT_STORAGE,
    study: StudyName = None,
) -> None:
    """One row a trial, or a point of a race, to filter and sort.

    csv, json and parquet hold every column in full: number, state, value, params.*, the job's attributes, times. The
    table for people holds those that compare trials.

    Of a race: id, name, runs, mean, standard_error, posterior_mean, posterior_sd, feasible, diverged, params.*, seeds,
    values, trials, and the number of trials of each state. --state keeps the points with a trial of that state.
    """
    if output is None and form is RowsFormat.parquet:
        raise QueryError("--format parquet is binary: name a file with --output")
    if output is not None and form is RowsFormat.table:
        raise QueryError("--output needs --format csv, json or parquet")
    chosen = choose(storage, study, runs=runs)
    wanted = {one.value for one in state or State}
    if raced := winners.is_race(chosen):
        found = points.point_rows(chosen)
    elif where or sort is not None:
        found = queries.trial_rows(chosen)
    else:  # the others are not looked at, which would read them whole
        found = queries.trial_rows(chosen, _first(chosen, wanted, limit))
    kept = filters.where(found, where or [])
    if sort is not None:
        kept = filters.sorted_by(kept, sort)
    kept = [row for row in kept if any(_has_state(row, one) for one in wanted)][:limit]
    if form is not RowsFormat.table:
        write_rows(kept, points.point_columns(chosen) if raced else queries.trial_columns(chosen), form, output)
    elif raced:
        print_table([points.row_for_people(row) for row in kept], points.columns_for_people(found))
    else:
        columns = _table_columns(chosen)
        print_table(kept, columns, [name for name in columns if name not in _LEAST_OF_A_TRIAL] + [*_LEAST_OF_A_TRIAL])


def _first(study: Study, states: Collection[str], limit: int | None) -> list[FrozenTrial]:
    """The first trials by number that are in one of these states."""
    return [trial for trial in queries.trials_of(study) if trial.state.name.lower() in states][:limit]


def _has_state(row: queries.Row, state: str) -> bool:
    """Whether a trial is in this state, or a point has a trial in it."""
    return bool(row[state]) if "posterior_mean" in row else row["state"].lower() == state


def _table_columns(study: Study) -> dict[str, str]:
    """Columns of the table for people, with headings: those that compare trials and hold anything."""
    if not queries.trials_of(study):
        return {}
    names = queries.trial_columns(study)
    params = [name for name in names if name.startswith("params.")]
    values = [name for name in names if name == "value" or name.startswith("value.")]
    optional = [*_OPTIONAL_COLUMNS] if "point_id" not in names else ["seed", *_OPTIONAL_COLUMNS]
    filled = queries.filled_columns(study)
    held = [name for name in optional if name in filled]
    return {name: filters.HEADINGS.get(name, name) for name in ["number", "state", *values]} | {
        **queries.short_names(params),
        **{name: filters.HEADINGS.get(name, name) for name in held},
    }


def importance(
    runs: SingleRuns = False,
    storage: StorageUrl = DEFAULT_STORAGE,
    study: StudyName = None,
    form: TextOrJson = RecordFormat.table,
) -> None:
    """How much each parameter matters (PED-ANOVA).

    The importances sum to 1. Those of a race are computed from the means of its points.
    """
    chosen = choose(storage, study, runs=runs)
    with working("computing importances"):
        found = summaries.importances(points.study_of_points(chosen) if winners.is_race(chosen) else chosen)
    if form is RecordFormat.json:
        say(json_text(found))
    else:
        print_table([{"parameter": name, "importance": value} for name, value in found.items()])
