"""The commands that train nothing: ``verify`` a report, ``summarize`` finished runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mdaf.interruption import messages_of_parent
from mdaf.sweeper.study.usage import OneLineGroup

app = typer.Typer(
    cls=OneLineGroup, add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None
)


@app.command()
def verify(
    report: Annotated[Path, typer.Argument(help="A report.json.")],
    deep: Annotated[bool, typer.Option("--deep", help="Score the rows again with each run's best.pt.")] = False,
) -> None:
    """Compute every figure of a report again from its runs and name those that differ; exit code 1 if any does."""
    from mdaf.multirun.report.differences import count
    from mdaf.multirun.report.verify import OTHER_RULES_IN_0_1, is_of_0_1, read_report
    from mdaf.multirun.report.verify import verify as verified

    found = verified(report, deep)
    if found:
        for difference in found:
            typer.echo(str(difference))
        typer.echo(f"{len(found)} differ in {report}", err=True)
        raise typer.Exit(1)
    held = read_report(report)
    runs = len(held["inputs"]["runs"])
    scored = ", and the AUCs are those of the checkpoints" if deep else ""
    typer.echo(f"{count(held['figures'])} figures of {runs} runs hold{scored}")
    if is_of_0_1(held):
        typer.echo(f"version 0.1 wrote it; {', '.join(OTHER_RULES_IN_0_1)} had other rules and were not compared")


@app.command()
def summarize(
    folders: Annotated[list[Path], typer.Argument(help="Run folders, or folders that hold some.")],
    out: Annotated[Path | None, typer.Option("--out", help="Also write report.json, .md and .html here.")] = None,
) -> None:
    """Spread over seeds, paired comparisons and criteria of any finished runs. Trains nothing."""
    from mdaf.multirun.report.summarize import show, summary

    with messages_of_parent(goes_on="the same command goes on", folder="--out"):
        show(summary(folders, out))
