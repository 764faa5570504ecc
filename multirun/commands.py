"""The commands that train nothing: ``verify`` a report, ``summarize`` finished runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from mdaf.errors import UserError
from mdaf.extras import require
from mdaf.multirun.report.differences import Difference
from mdaf.processes.interruption import messages_of_parent
from mdaf.sweeper.study.commands.options import DEFAULT_STORAGE
from mdaf.sweeper.study.commands.usage import OneLineGroup

app = typer.Typer(
    cls=OneLineGroup, add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None
)


@app.command()
def verify(
    report: Annotated[Path, typer.Argument(help="A report.json.")],
    deep: Annotated[bool, typer.Option("--deep", help="Score the rows again with each run's best.pt.")] = False,
    storage: Annotated[
        str,
        typer.Option("--storage", envvar="MDAF_STORAGE", metavar="URL", help="The database of another program's runs."),
    ] = DEFAULT_STORAGE,
) -> None:
    """Compute every figure of a report again from its runs and name those that differ; exit code 1 if any does."""
    from mdaf.multirun.program.report import is_of_a_program, read_report
    from mdaf.multirun.program.report import verify as verified_values
    from mdaf.multirun.report.differences import count

    by_values = is_of_a_program(report)
    if by_values and deep:
        raise UserError(f"{report}: --deep scores rows, and only the values of these runs are known; leave it away")
    if by_values:
        found, held = verified_values(report, storage), read_report(report)
    else:
        found, held = _verified(report, deep)
    if found:
        for difference in found:
            typer.echo(str(difference))
        typer.echo(f"{len(found)} differ in {report}", err=True)
        raise typer.Exit(1)
    runs = len(held["inputs"]["runs"])
    scored = ", and the AUCs are those of the checkpoints" if deep else ""
    typer.echo(f"{count(held['figures'])} figures of {runs} runs hold{scored}")
    if not by_values:
        _say_what_0_1_had(held)


def _say_what_0_1_had(held: Mapping[str, Any]) -> None:
    from mdaf.multirun.report.verify import OTHER_RULES_IN_0_1, is_of_0_1

    if is_of_0_1(held):
        typer.echo(f"version 0.1 wrote it; {', '.join(OTHER_RULES_IN_0_1)} had other rules and were not compared")


def _verified(report: Path, deep: bool) -> tuple[list[Difference], dict[str, Any]]:
    """The differences of a report on this program's runs, and what stands in it."""
    require("ctr", "verify")
    from mdaf.multirun.report.verify import read_report
    from mdaf.multirun.report.verify import verify as verified

    return verified(report, deep), read_report(report)


@app.command()
def summarize(
    folders: Annotated[list[Path], typer.Argument(help="Run folders, or folders that hold some.")],
    out: Annotated[Path | None, typer.Option("--out", help="Also write report.json, .md and .html here.")] = None,
) -> None:
    """Spread over seeds, paired comparisons and criteria of any finished runs. Trains nothing."""
    require("ctr", "summarize")
    from mdaf.multirun.report.summarize import show, summary

    with messages_of_parent(goes_on="the same command goes on", folder="--out"):
        show(summary(folders, out), folder=out)
