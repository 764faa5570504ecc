"""``python -m sweeper.evaluate RUN data.split=test``: figures of a finished run on any split, with intervals."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from mdaf.errors import UserError, did_you_mean
from mdaf.extras import require
from mdaf.messages import logs
from mdaf.messages.reporting import reported_in_one_line
from mdaf.processes.children import import_alike
from mdaf.sweeper.runs.metric_columns import column, is_ranking
from mdaf.terminal import output, tables
from mdaf.terminal.parser import Parser
from mdaf.terminal.programs import command

if TYPE_CHECKING:
    from mdaf.sweeper.job.split_figures import SplitFigures

SPLITS = ("train", "validation", "test")
KEYS = ("data.split", "data.root", "training.ranking_at")
READS = Path("runs")  # holds the log of reads of the test split that are no report's


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog=command("sweeper.evaluate"),
        description="Figures of a split from the best checkpoint of a finished run. Writes nothing into the run.",
        epilog="The intervals are of 95 %, over resampled users. ECE has none, since that of a resample is biased.",
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="the folder of a finished run")
    parser.add_argument(
        "overrides",
        metavar="KEY=VALUE",
        nargs="*",
        help="data.split=train|validation|test (default: validation); data.root=FOLDER of stores; "
        "training.ranking_at=[1,3] (default: the run's)",
    )
    parser.add_argument(
        "--resamples", metavar="N", type=int, default=1000, help="of users, for the intervals; 0: none; default: 1000"
    )
    parser.add_argument("--json", action="store_true", help="JSON instead of a table")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Console script ``mdaf-evaluate``. Prints the figures; after a mistake one line on stderr and exit code 2."""
    import_alike()
    output.make_safe()
    logs.set_up()
    with reported_in_one_line():
        options = _parser().parse_intermixed_args(arguments)
        require("ctr", _parser().prog)
        _evaluate(options)


def _evaluate(options: argparse.Namespace) -> None:
    typed = _typed(options.overrides)
    split = _split(typed.get("data.split", "validation"))
    cuts = _cuts(typed["training.ranking_at"]) if "training.ranking_at" in typed else None
    if options.resamples < 0:
        raise UserError(f"--resamples {options.resamples}: expected a whole number from 0")
    if not options.run.is_dir():
        raise UserError(f"{options.run}: there is no such folder, expected that of a finished run")
    from mdaf.sweeper.job.split_figures import split_figures
    from mdaf.sweeper.runs.reader import read_finished_run
    from mdaf.sweeper.runs.test_reads import log_read

    read_finished_run(options.run)
    if split == "test":
        log_read([options.run], READS, "evaluate")
    found = split_figures(options.run, split, options.resamples, cuts, typed.get("data.root"))
    if options.json:
        print(json.dumps(asdict(found), indent=2))
    else:
        _show(found)


def _typed(overrides: Sequence[str]) -> dict[str, str]:
    """What was typed after the run, by key."""
    found: dict[str, str] = {}
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or key not in KEYS:
            raise UserError(f"found {text}{did_you_mean(key, KEYS)}; expected {', '.join(f'{k}=...' for k in KEYS)}")
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
    print(
        f"{found.split}: {found.rows:,} rows of {found.users:,} users, {found.positives:,} positives; "
        f"epoch {found.best_epoch} of {found.run}"
    )
    rows = [(name, figure) for name, figure in found.figures.items() if figure.value is not None]
    headings = [(column(name) if is_ranking(name) else column(f"val_{name}")).heading for name, _ in rows]
    intervals = ["" if f.low is None else f"[{f.low:.4f}, {f.high:.4f}]" for _, f in rows]
    block = [
        tables.Column("metric", [heading.removeprefix("val ") for heading in headings]),
        tables.Column("value", [f"{figure.value:.4f}" for _, figure in rows], right=True),
        tables.Column("95 % interval", intervals, right=True),
    ]
    console = tables.console()
    table, _ = tables.fitted(block, console.width, framed=True)
    console.print(table)


if __name__ == "__main__":
    main(sys.argv[1:])
