"""The study query: asks a study database what was tried and what won. ``python -m sweeper.study``, ``mdaf-study``.

Read-only: nothing is created or changed but the file named by ``--output``, what ``copy``, ``backup`` and ``fetch``
make, and what ``reap --yes`` and ``retry --yes`` say; the pages of ``dashboard`` can change studies too. Answers go to
standard output, remarks and errors to standard error; an error is one line and exit code 2.
"""

from __future__ import annotations

import gc
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from optuna.exceptions import StorageInternalError
from optuna.study import Study
from sqlalchemy.exc import SQLAlchemyError

from mdaf import logs, signals
from mdaf.errors import StoppedError, UserError
from mdaf.names import folder_of
from mdaf.sweeper.hydra_ext.imports import end_quickly
from mdaf.sweeper.storage.backup import back_up
from mdaf.sweeper.storage.database_errors import reason_of
from mdaf.sweeper.storage.opening import masked, masked_text, open_storage
from mdaf.sweeper.storage.retrying import StorageAwayError, briefly
from mdaf.sweeper.study import filters, live, points, queries
from mdaf.sweeper.study.comparison import ComparedRun, compare, run_from_folder, run_from_trial
from mdaf.sweeper.study.consistency import check_study, check_trial, objectives_of
from mdaf.sweeper.study.copying import copy_study
from mdaf.sweeper.study.options import (
    DEFAULT_STORAGE,
    RecordFormat,
    SingleRuns,
    StorageUrl,
    StudyName,
    TextOrJson,
    choose,
    other_database,
)
from mdaf.sweeper.study.output import (
    csv_text,
    json_text,
    note,
    parquet_bytes,
    print_record,
    print_table,
    say,
    write_whole,
)
from mdaf.sweeper.study.part import single_runs
from mdaf.sweeper.study.queries import QueryError
from mdaf.sweeper.study.serving.command import serve
from mdaf.sweeper.study.usage import OneLineGroup
from mdaf.sweeper.trials import artifacts
from mdaf.terminal import output
from mdaf.terminal.printable import in_a_line
from mdaf.terminal.programs import answer_version
from mdaf.terminal.progress import shown, working


class StudyGroup(OneLineGroup):
    """Answers a mistake with one line on standard error and exit code 2, a database that is away with 75."""

    def invoke(self, ctx: Any) -> Any:
        try:
            with signals.listening():
                return super().invoke(ctx)
        except (UserError, StoppedError) as error:
            note(f"mdaf-study: {masked_text(str(error))}{other_database(error)}")
            if isinstance(error, StorageAwayError):  # nothing is wrong with what was typed
                raise typer.Exit(error.exit_code) from None
        except (StorageInternalError, SQLAlchemyError) as error:
            note(f"mdaf-study: the storage failed: {reason_of(error)}")
        raise typer.Exit(2)


app = typer.Typer(
    cls=StudyGroup,
    help="Asks a study database what was tried and what won. Only reap and retry with --yes change a study; copy, "
    "backup and fetch write elsewhere; the pages of dashboard can change anything.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


class BestFormat(str, Enum):  # noqa: UP042 - typer prints a str enum's value
    """How the best trials are printed; ``overrides`` is one line of Hydra overrides for scripts."""

    table = "table"
    json = "json"
    overrides = "overrides"


class TrialsFormat(str, Enum):  # noqa: UP042
    """How trials are written; ``parquet`` goes to a file."""

    table = "table"
    csv = "csv"
    json = "json"
    parquet = "parquet"


class State(str, Enum):  # noqa: UP042
    """A trial's state, in Optuna's words."""

    complete = "complete"
    pruned = "pruned"
    fail = "fail"
    running = "running"
    waiting = "waiting"


LONGEST_HEADING = 16  # characters; of two runs with longer names the table says A and B
# Columns of a narrow terminal's tables, the most important first.
_OF_THE_BEST_POINT = {name: f"best_{filters.HEADINGS_OF_POINTS.get(name, name)}" for name in points.COMPARED}
_IMPORTANT_OF_A_STUDY = (
    *("study", "points", "best_mean", "best_error", "best_runs", "best_expected"),
    *("trials", "best_value", "complete", "running", "fail", "best_trial", "last_activity"),
)
_OF_THE_BEST_EPOCH = ("best_epoch", "val_loss", "val_ece", "train_auc", "train_val_gap", "gate_mean")
_LEAST_OF_A_TRIAL = ("error", "duration", *_OF_THE_BEST_EPOCH, "run_dir")
# Columns of the table for people beside number, state, value and params: shown if any trial has them.
_OPTIONAL_COLUMNS = ("point", "run_dir", *_OF_THE_BEST_EPOCH, "duration", "error")


@app.command("list")
def list_studies(
    runs: SingleRuns = False, storage: StorageUrl = DEFAULT_STORAGE, form: TextOrJson = RecordFormat.table
) -> None:
    """The studies: trials by state, best value, last activity.

    Of a race also how many points it has, and the best one.
    """
    studies = queries.load_studies(open_storage(storage, create=False, read_only=True))
    found = queries.study_rows([single_runs(study) for study in studies] if runs else studies)
    if form is RecordFormat.json:
        say(json_text(found))
    elif found:
        rows = [_study_for_people(row) for row in found]
        raced, others = (any((row["points"] is None) == single for row in rows) for single in (False, True))
        hidden = [] if raced else ["points", *_OF_THE_BEST_POINT.values()]
        hidden += [] if others else ["best_value", "best_trial"]
        columns = [name for name in rows[0] if name not in hidden]
        print_table(rows, {name: name for name in columns}, _IMPORTANT_OF_A_STUDY)
    else:
        note("the storage holds no study yet")


def _study_for_people(row: queries.Row) -> queries.Row:
    """A study's row with the figures of a race's best point in place of the value of one of its runs."""
    point = row["best_point"] or {}
    single = {"best_value": None, "best_trial": None} if row["points"] is not None else {}
    kept = {name: value for name, value in row.items() if name not in ("last_activity", "best_point")} | single
    figures = {heading: point.get(name) for name, heading in _OF_THE_BEST_POINT.items()}
    return kept | figures | {"last_activity": row["last_activity"]}


@app.command()
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
        record = queries.study_summary(chosen)
        _warn_of_edges(queries.best_records(chosen, 1) if record["best_trial"] is not None else [])
    if form is RecordFormat.json:
        say(json_text(record))
        return
    for name in ("search_space", "distributions"):
        if name in record:
            record[name] = {key: queries.interval(kind) for key, kind in record[name].items()}
    if number is None:
        record["counts"] = {state.lower(): count for state, count in record["counts"].items() if count}
        for name in ("changed_intervals", "fixed_overrides", "varying_overrides"):
            record[name] = " ".join(record[name])
    print_record(record)


@app.command()
def best(
    top: Annotated[int, typer.Option("--top", min=1, metavar="K", help="How many trials, or points of a race.")] = 1,
    runs: SingleRuns = False,
    form: Annotated[BestFormat, typer.Option("--format", help="overrides: a trial's Hydra overrides, a line.")] = (
        BestFormat.table
    ),
    storage: StorageUrl = DEFAULT_STORAGE,
    study: StudyName = None,
) -> None:
    """The best trials, or points of a race, and how to run them again.

    Of the complete trials that meet the study's constraints: value, parameters, folder, line of shell. Of a race: the
    points with the best posterior means; each line runs the first of the point's runs.

    --format overrides prints one line a trial, for python -m sweeper $(mdaf-study best --format overrides). In
    another program, and where a value holds spaces, use eval: eval "python app.py $(mdaf-study best --format
    overrides)". With several objectives it is the Pareto front.
    """
    from mdaf.sweeper.hydra_ext.overrides import words  # and with it Hydra's parser, which no other command needs

    chosen = choose(storage, study, runs=runs)
    records = queries.best_records(chosen, top)
    for record in records:
        for difference in check_trial(chosen, queries.find_trial(chosen, record["number"])) or []:
            note(f"warning: {difference}; mdaf-study verify names all that differs")
    _warn_of_edges(records)
    _warn_of_what_is_left_out(records)
    if form is BestFormat.json:
        say(json_text(records))
        return
    if form is BestFormat.table:
        _print_best(records)
        say("\nto run it again:" if len(records) == 1 else "\nto run them again:")
    for record in records:
        say(record["command"] if form is BestFormat.table else words(record["overrides"]))


def _print_best(records: list[dict[str, Any]]) -> None:
    names = sorted({name for record in records for name in record["params"]})
    params = {f"params.{name}": heading for name, heading in queries.short_names(names).items()}
    rows = [record | {f"params.{name}": record["params"].get(name) for name in names} for record in records]
    if any(record["point"] for record in records):
        rows = [row | points.row_for_people(row["point"]) for row in rows]
        columns = {**points.compared(rows), **params, "seeds": "seeds", "trials": "trials"}
    else:
        columns = {"number": "trial", "value": "value", **params}
    run_dir = {"run_dir": "run_dir"} if any(row["run_dir"] for row in rows) else {}
    print_table(rows, {**columns, **run_dir})


@app.command()
def trials(
    form: Annotated[TrialsFormat, typer.Option("--format", help="parquet needs --output.")] = TrialsFormat.table,
    output: Annotated[Path | None, typer.Option("--output", metavar="FILE", help="Instead of standard output.")] = None,
    state: Annotated[list[State] | None, typer.Option("--state", help="Only of this state; may be repeated.")] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where", metavar="CONDITION", help="Such as 'state==COMPLETE and dropout>0.2'; repeated: all must hold."
        ),
    ] = None,
    sort: Annotated[
        str | None,
        typer.Option(
            "--sort", metavar="COLUMN", help="Ascending; -COLUMN descending. Default: number; points: the best first."
        ),
    ] = None,
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
    if output is None and form is TrialsFormat.parquet:
        raise QueryError("--format parquet is binary: name a file with --output")
    if output is not None and form is TrialsFormat.table:
        raise QueryError("--output needs --format csv, json or parquet")
    chosen = choose(storage, study, runs=runs)
    raced = queries.is_race(chosen)
    found = points.point_rows(chosen) if raced else queries.trial_rows(chosen)
    kept = filters.where(found, where or [])
    if sort is not None or not raced:
        kept = filters.sorted_by(kept, sort or "number")
    if state:
        kept = [row for row in kept if any(_has_state(row, wanted.value) for wanted in state)]
    kept = kept[:limit]
    if form is not TrialsFormat.table:
        _write_rows(kept, points.point_columns(chosen) if raced else queries.trial_columns(chosen), form, output)
    elif raced:
        print_table([points.row_for_people(row) for row in kept], points.columns_for_people(found))
    else:
        columns = _table_columns(found)
        important = [name for name in columns if name not in _LEAST_OF_A_TRIAL]
        important += [name for name in _LEAST_OF_A_TRIAL if name in columns]
        print_table(kept, columns, important)


def _has_state(row: queries.Row, state: str) -> bool:
    """Whether a trial is in this state, or a point has a trial in it."""
    return bool(row[state]) if "posterior_mean" in row else row["state"].lower() == state


def _write_rows(rows: list[queries.Row], names: list[str], form: TrialsFormat, output: Path | None) -> None:
    content: str | bytes
    if form is TrialsFormat.parquet:
        content = parquet_bytes(rows, names)
    else:
        content = csv_text(rows, names) if form is TrialsFormat.csv else json_text(rows) + "\n"
    if output is not None:
        write_whole(output, content)
    else:
        typer.echo(content, nl=False)


@app.command()
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
        found = queries.importances(points.study_of_points(chosen) if queries.is_race(chosen) else chosen)
    if form is RecordFormat.json:
        say(json_text(found))
    else:
        print_table([{"parameter": name, "importance": value} for name, value in found.items()])


@app.command("compare")
def compare_runs(
    a: Annotated[str, typer.Argument(metavar="A", help="The baseline: a trial's number or a run's folder.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The other: likewise.")],
    epoch: Annotated[int | None, typer.Option("--epoch", min=1, help="Default: each run's best epoch.")] = None,
    storage: StorageUrl = DEFAULT_STORAGE,
    study: StudyName = None,
    form: TextOrJson = RecordFormat.table,
) -> None:
    """Two runs beside each other, metric by metric.

    Per metric both values, delta = B - A, and delta in per cent of A.
    """
    chosen = choose(storage, study) if a.isdecimal() or b.isdecimal() else None
    first, second = _run(a, chosen), _run(b, chosen)
    deltas = compare(first, second, epoch)
    if form is RecordFormat.json:
        say(json_text({"a": first.name, "b": second.name, "rows": deltas}))
        return
    names = {"a": first.name, "b": second.name}
    if any(len(name) > LONGEST_HEADING for name in names.values()):
        say(f"A  {first.name}\nB  {second.name}\n")
        names = {"a": "A", "b": "B"}
    short = queries.short_names([str(row["metric"]) for row in deltas])
    rows = [row | {"metric": short[str(row["metric"])]} for row in deltas]
    headings = {"metric": "metric", **names, "delta": "delta", "delta_percent": "delta %"}
    print_table(rows, headings, important=("metric", "delta"))


@app.command()
def verify(storage: StorageUrl = DEFAULT_STORAGE, study: StudyName = None) -> None:
    """Whether the study says what its runs left.

    Reads each finished trial's run folder again and names what differs: values, epochs, attributes, parameters. The
    exit code is 1 if anything does.
    """
    chosen = choose(storage, study)
    with working("reading the run folders"):
        found, absent = check_study(chosen)
    for difference in found:
        say(in_a_line(difference))
    if absent:
        note(f"{len(absent)} trials have no run folder here to be compared with, such as trial {absent[0]}")
    if found:
        note(f"{len(found)} differ in study {chosen.study_name}")
        raise typer.Exit(1)
    say(f"study {chosen.study_name}: {queries.counts(chosen)['COMPLETE']} complete trials, nothing differs")


@app.command()
def plot(
    output: Annotated[Path, typer.Option("--output", metavar="FILE.html", help="The page to write.")],
    runs: SingleRuns = False,
    storage: StorageUrl = DEFAULT_STORAGE,
    study: StudyName = None,
) -> None:
    """The study's plots in one HTML file.

    Learning curves, history, slices, parallel coordinates, contours and importances; the file needs no network. Of a
    race: its points, each by the mean of its runs with the standard error, and what a further run is expected to give.
    """
    from mdaf.sweeper.study.plots import plots_page

    chosen = choose(storage, study, runs=runs)
    with working("drawing the plots"):
        write_whole(output, plots_page(chosen))
    say(str(output))


@app.command()
def export(
    output: Annotated[
        Path,
        typer.Option(
            "--output", metavar="FOLDER_OR_FILE", help="FILE.json, FILE.csv or FILE.parquet, or a folder for the first."
        ),
    ],
    runs: SingleRuns = False,
    storage: StorageUrl = DEFAULT_STORAGE,
    study: StudyName = None,
) -> None:
    """The whole study as JSON, or its rows as CSV or Parquet.

    JSON: every trial with its intermediate values, attributes and distributions. CSV and Parquet: the columns of
    mdaf-study trials. Of a race: its points; --runs writes every trial.
    """
    chosen = choose(storage, study, runs=runs)
    raced = queries.is_race(chosen)
    if output.is_dir() or not output.suffix:
        output = output / f"{folder_of(chosen.study_name)}.json"
    form = output.suffix.removeprefix(".").lower()
    if form in (TrialsFormat.csv, TrialsFormat.parquet):
        rows = points.point_rows(chosen) if raced else queries.trial_rows(chosen)
        names = points.point_columns(chosen) if raced else queries.trial_columns(chosen)
        _write_rows(rows, names, TrialsFormat(form), output)
    else:
        record = points.race_record(chosen) if raced else queries.study_record(chosen)
        write_whole(output, json_text(record) + "\n")
    say(str(output))
    if raced:
        note("these are points; --runs writes single runs")


@app.command()
def fetch(
    source: Annotated[str | None, typer.Option("--from", metavar="URL", help="What sweep.artifacts was.")] = None,
    to: Annotated[Path | None, typer.Option("--to", metavar="FOLDER", help="Default: runs/studies/STUDY.")] = None,
    storage: StorageUrl = DEFAULT_STORAGE,
    study: StudyName = None,
) -> None:
    """Run folders that are not on this machine, from the copies that sweep.artifacts left.

    Afterwards the report, compare and whatever reads run folders find them where their trials say.
    """
    chosen = choose(storage, study)
    missing = artifacts.missing(chosen.study_name, queries.trials_of(chosen), source, to)
    with shown() as progress:
        for number, (trial, folder, url) in enumerate(missing):
            progress(f"copying run {number + 1} of {len(missing)}", number / len(missing))
            say(f"trial {trial.number}: {artifacts.fetch(url, folder)} files to {folder}")


@app.command("copy")
def copy_to(
    source: Annotated[str, typer.Argument(metavar="FROM", help="The database that holds the study.")],
    target: Annotated[str, typer.Argument(metavar="TO", help="The one that gets it; made if it is not there.")],
    study: StudyName = None,
    running: Annotated[bool, typer.Option("--running", help="Copy RUNNING trials too, as they are.")] = False,
) -> None:
    """Copies a study whole into another database, as from SQLite to PostgreSQL or back.

    Every trial keeps its number, state, times, parameters, values, intermediate values and attributes. FROM stays as it
    is; a study that TO holds already is not overwritten.
    """
    name = choose(source, study).study_name
    with working(f"copying study {name}"):
        copied = copy_study(source, target, name, running=running)
    say(f"study {name}: {copied.trials} trials, {copied.rows} rows, from {masked(source)} to {masked(target)}")


@app.command()
def backup(
    target: Annotated[str, typer.Argument(metavar="TARGET", help="The file to write, or a folder for it.")],
    storage: StorageUrl = DEFAULT_STORAGE,
) -> None:
    """Copies the whole database, also while a sweep writes to it.

    Of a SQLite file or a journal; of a server it says what to type. What is there already is not overwritten.
    """
    with working("copying the database"):
        made = back_up(storage, target)
    say(f"{masked(storage)}: {made.studies} studies, {made.trials} trials, copied to {made.file}")


def _run(text: str, study: Study | None) -> ComparedRun:
    """A run by trial number, or by folder; a folder whose name is a number is written ./7."""
    if text.isdecimal() and study is not None:
        return run_from_trial(queries.find_trial(study, int(text)), objectives_of(study)[0])
    return run_from_folder(Path(text))


def _warn_of_edges(records: list[dict[str, Any]]) -> None:
    for record in records:
        for name, edge in record["edges"].items():
            value = record["params"][name]
            note(
                f"warning: trial {record['number']} lies on the {edge} edge of the interval of {name} ({value!r}): "
                "better values may lie beyond it"
            )


def _warn_of_what_is_left_out(records: list[dict[str, Any]]) -> None:
    for record in records:
        for override, why in record["left_out"].items():
            note(f"warning: trial {record['number']}: left out of its line: {override}: {why}")


def _table_columns(found: list[queries.Row]) -> dict[str, str]:
    """Columns of the table for people, with headings: those that compare trials and hold anything."""
    if not found:
        return {}
    params = [name for name in found[0] if name.startswith("params.")]
    values = [name for name in found[0] if name == "value" or name.startswith("value.")]
    optional = [*_OPTIONAL_COLUMNS] if "point_id" not in found[0] else ["seed", *_OPTIONAL_COLUMNS]
    held = [name for name in optional if any(row.get(name) is not None for row in found)]
    return {name: filters.HEADINGS.get(name, name) for name in ["number", "state", *values]} | {
        **queries.short_names(params),
        **{name: filters.HEADINGS.get(name, name) for name in held},
    }


for command in (serve, live.watch, live.reap, live.retry, live.dashboard):
    app.command()(command)


def main() -> None:
    """Entry point of ``mdaf-study``, ``mdaf study`` and ``python -m sweeper.study``."""
    answer_version()
    output.make_safe()
    logs.set_up()
    end_quickly()
    gc.set_threshold(200_000, 50, 50)  # an answer is made of millions of objects, hardly any of which is garbage
    with briefly():
        app(prog_name="mdaf-study")
