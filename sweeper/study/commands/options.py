"""What the commands of the study query have in common: their options, and the study that is asked."""

from __future__ import annotations

import os
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from optuna.storages import BaseStorage
from optuna.study import Study

from mdaf.errors import UserError
from mdaf.naming.studies import DEFAULT_STORAGE as DEFAULT_STORAGE
from mdaf.sweeper.storage.opening import open_storage
from mdaf.sweeper.study import queries
from mdaf.sweeper.study.commands.output import note
from mdaf.sweeper.study.part import single_runs
from mdaf.sweeper.trials.soundness import complaint_of


class RecordFormat(str, Enum):  # noqa: UP042 - typer prints a str enum's value
    """How a record or a few rows are printed."""

    table = "table"
    json = "json"


StorageUrl = Annotated[
    str,
    typer.Option("--storage", envvar="MDAF_STORAGE", metavar="URL", help="The database: sqlite:///, journal:///, ..."),
]
StudyName = Annotated[
    str | None, typer.Option("--study", metavar="NAME", help="The study; default: the most recently active one.")
]
SingleRuns = Annotated[bool, typer.Option("--runs", help="Of a race: single runs instead of points.")]
TextOrJson = Annotated[RecordFormat, typer.Option("--format", help="table for people, json for scripts.")]


def choose(url: str, name: str | None, *, read_only: bool = True, runs: bool = False) -> Study:
    """The named study; without a name the only one, or the most recently active, which is then said.

    With ``runs`` a race is asked about its single runs.
    """
    storage = queries.open_to_ask(url) if read_only else open_storage(url, create=False)
    chosen = _chosen(storage, name)
    for trial in chosen.get_trials(deepcopy=False):
        if wrong := complaint_of(trial):
            found = f"study {chosen.study_name}, trial {trial.number}: {wrong}"
            if not read_only:
                raise UserError(f"{found}; nothing is changed in a study that another program wrote")
            note(f"warning: {found}; it is left out")
            break
    return single_runs(chosen) if runs else chosen


def other_database(error: Exception) -> str:
    """The end of a message where ``MDAF_STORAGE`` chose the database in which nothing was found, and sweeps are here.

    A sweep does not read that variable: its own key names its database.
    """
    named, file = os.environ.get("MDAF_STORAGE"), Path(DEFAULT_STORAGE.removeprefix("sqlite:///"))
    is_typed = any(word == "--storage" or word.startswith("--storage=") for word in sys.argv)
    if not isinstance(error, UserError) or is_typed or named in (None, "", DEFAULT_STORAGE) or not file.is_file():
        return ""
    return f"; MDAF_STORAGE chose that database, and {file} is here too: type --storage {DEFAULT_STORAGE}"


def _chosen(storage: BaseStorage, name: str | None) -> Study:
    if name is not None:
        return queries.load_study(storage, name)
    studies = queries.load_studies(storage)
    chosen = queries.most_recent_study(studies)
    if len(studies) > 1:
        note(f"study {chosen.study_name}: the most recently active of {len(studies)}; --study NAME takes another")
    return chosen
