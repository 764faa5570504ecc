"""``python -m sweeper.evaluate RUN data.split=test``: figures of a finished run on any split, with intervals."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mdaf import logs
from mdaf.children import import_alike
from mdaf.errors import UserError, did_you_mean
from mdaf.extras import require
from mdaf.reporting import reported_in_one_line
from mdaf.sweeper.runs.metric_columns import column
from mdaf.sweeper.study.usage import OneLineGroup
from mdaf.terminal import output, tables
from mdaf.terminal.programs import program

if TYPE_CHECKING:
    from mdaf.sweeper.job.split_figures import SplitFigures

SPLITS = ("train", "validation", "test")
KEYS = ("data.split", "training.ranking_at")
READS = Path("runs")  # holds the log of reads of the test split that are no report's

app = typer.Typer(cls=OneLineGroup, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="The folder of a finished run.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="data.split=train|validation|test and training.ranking_at=[1,3], in the order you like."),
    ] = None,
    resamples: Annotated[int, typer.Option(min=0, help="Resamples of users for the intervals; 0: none.")] = 1000,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of a table.")] = False,
) -> None:
    """Figures of a split from a run's best checkpoint, by default of validation. Writes nothing into the run.

    The interval is that of 95 % over resampled users. Those of ECE are left out, since a resample's is biased.
    """
    typed = _typed(overrides or [])
    split = _split(typed.get("data.split", "validation"))
    cuts = _cuts(typed["training.ranking_at"]) if "training.ranking_at" in typed else None
    from mdaf.sweeper.job.split_figures import split_figures
    from mdaf.sweeper.runs.test_reads import log_read

    if not run.is_dir():
        raise UserError(f"{run}: there is no such folder, expected that of a finished run")
    if split == "test":
        log_read([run], READS, "evaluate")
    found = split_figures(run, split, resamples, cuts)
    if as_json:
        typer.echo(json.dumps(asdict(found), indent=2))
    else:
        _show(found)


def _typed(overrides: list[str]) -> dict[str, str]:
    """What was typed after the run, by key."""
    found: dict[str, str] = {}
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or key not in KEYS:
            raise UserError(f"found {text}{did_you_mean(key, KEYS)}; expected {' and '.join(f'{k}=...' for k in KEYS)}")
        found[key] = value
    return found


def _split(name: str) -> str:
    if name not in SPLITS:
        raise UserError(f"data.split: found {name}{did_you_mean(name, SPLITS)}; expected one of {', '.join(SPLITS)}")
    return name


def _cuts(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"\[? *[1-9]\d{0,5}( *, *[1-9]\d{0,5})* *\]?", text):
        raise UserError(f"training.ranking_at: found {text}, expected whole numbers from 1, such as [1,3]")
    return tuple(int(number) for number in re.findall(r"\d+", text))


def _show(found: SplitFigures) -> None:
    typer.echo(
        f"{found.split}: {found.rows:,} rows of {found.users:,} users, {found.positives:,} positives; "
        f"epoch {found.best_epoch} of {found.run}"
    )
    rows = [(name, figure) for name, figure in found.figures.items() if figure.value is not None]
    headings = [(column(name) if _is_own(name) else column(f"val_{name}")).heading for name, _ in rows]
    intervals = ["" if f.low is None else f"[{f.low:.4f}, {f.high:.4f}]" for _, f in rows]
    block = [
        tables.Column("metric", [heading.removeprefix("val ") for heading in headings]),
        tables.Column("value", [f"{figure.value:.4f}" for _, figure in rows], right=True),
        tables.Column("95 % interval", intervals, right=True),
    ]
    console = tables.console()
    table, _ = tables.fitted(block, console.width, framed=True)
    console.print(table)


def _is_own(name: str) -> bool:
    return "@" in name or name == "mrr"


def main() -> None:
    """Console script ``mdaf-evaluate``."""
    import_alike()
    output.make_safe()
    logs.set_up()
    with reported_in_one_line():
        require("ctr", program())
        app(prog_name=program())


if __name__ == "__main__":
    main()
