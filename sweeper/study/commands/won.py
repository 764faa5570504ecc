"""What won: the command ``best``."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any

import typer

from mdaf.sweeper.study import points, queries, winners
from mdaf.sweeper.study.commands.options import DEFAULT_STORAGE, SingleRuns, StorageUrl, StudyName, choose
from mdaf.sweeper.study.commands.output import json_text, note, print_table, say
from mdaf.sweeper.study.consistency import check_trial


class BestFormat(str, Enum):  # noqa: UP042 - typer prints a str enum's value
    """How the best trials are printed; ``overrides`` is one line of Hydra overrides for scripts."""

    table = "table"
    json = "json"
    overrides = "overrides"


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
    records = winners.best_records(chosen, top)
    for record in records:
        for difference in check_trial(chosen, queries.find_trial(chosen, record["number"])) or []:
            note(f"warning: {difference}; mdaf-study verify names all that differs")
    warn_of_edges(records)
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


def warn_of_edges(records: list[dict[str, Any]]) -> None:
    """Says of each record which of its values lie on an edge of the space that was searched."""
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
