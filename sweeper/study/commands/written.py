"""What leaves a study as files: the commands ``plot``, ``export``, ``fetch``, ``copy`` and ``backup``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mdaf.naming.studies import folder_of
from mdaf.sweeper.storage.backup import back_up
from mdaf.sweeper.storage.opening import masked
from mdaf.sweeper.study import points, queries, summaries, winners
from mdaf.sweeper.study.commands.options import DEFAULT_STORAGE, SingleRuns, StorageUrl, StudyName, choose
from mdaf.sweeper.study.commands.output import RowsFormat, check_ending, json_text, note, say, write_rows, write_whole
from mdaf.sweeper.study.copying import copy_study
from mdaf.sweeper.trials.attaching import artifacts
from mdaf.terminal.progress import shown, working


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
    from mdaf.sweeper.study.pictures.plots import plots_page

    check_ending(output, ".html")
    chosen = choose(storage, study, runs=runs)
    with working("drawing the plots"):
        write_whole(output, plots_page(chosen))
    say(str(output))


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
    raced = winners.is_race(chosen)
    if output.is_dir() or not output.suffix:
        output = output / f"{folder_of(chosen.study_name)}.json"
    form = check_ending(output, ".json", ".csv", ".parquet").removeprefix(".")
    if form in (RowsFormat.csv, RowsFormat.parquet):
        rows = points.point_rows(chosen) if raced else queries.trial_rows(chosen)
        names = points.point_columns(chosen) if raced else queries.trial_columns(chosen)
        write_rows(rows, names, RowsFormat(form), output)
    else:
        record = points.race_record(chosen) if raced else summaries.study_record(chosen)
        write_whole(output, json_text(record) + "\n")
    say(str(output))
    if raced:
        note("these are points; --runs writes single runs")


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
    if not missing:
        say(f"study {chosen.study_name}: nothing to fetch, every run folder that sweep.artifacts copied is here")
    with shown() as progress:
        for number, (trial, folder, url) in enumerate(missing):
            progress(f"copying run {number + 1} of {len(missing)}", number / len(missing))
            say(f"trial {trial.number}: {artifacts.fetch(url, folder)} files to {folder}")


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
