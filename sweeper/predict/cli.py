"""The command ``mdaf-predict``."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mdaf.errors import UserError
from mdaf.extras import require
from mdaf.messages.reporting import BEGINS_AGAIN, reported_in_one_line
from mdaf.processes import signals
from mdaf.terminal import output
from mdaf.terminal.parser import Parser
from mdaf.terminal.programs import command

if TYPE_CHECKING:
    import polars as pl

_EPILOG = """\
The file has the columns of the run's log: those that data.columns names, or user, item, time and further fields.
It needs no labels. Its columns and its order are kept, and one column is added.

  {predict} runs/RUN impressions.csv --out scores.parquet
  {predict} runs/RUN impressions.csv --events events.csv --out scores.csv
"""


def _parser() -> argparse.ArgumentParser:
    name = command("sweeper.predict")
    parser = Parser(
        prog=name,
        description="Scores rows with raw ids with the model of a finished run: the probability of a click.",
        epilog=_EPILOG.format(predict=name),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="the folder of a finished run")
    parser.add_argument(
        "file", metavar="FILE", type=Path, help="the rows: CSV, TSV, JSON lines or Parquet; .gz or .zst"
    )
    parser.add_argument("--out", metavar="FILE", type=Path, required=True, help=".csv, .tsv, .jsonl or .parquet")
    parser.add_argument(
        "--events", metavar="FILE", type=Path, help="of the histories; default: those of the run's store"
    )
    parser.add_argument("--score", metavar="NAME", default="score", help="of the new column; default: %(default)s")
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda, mps or auto; default: the run's")
    parser.add_argument("--precision", choices=("fp32", "tf32", "bf16"), help="default: the run's")
    parser.add_argument(
        "--batch-size", metavar="ROWS", type=int, help="of a forward pass; default: the run's evaluation"
    )
    parser.add_argument("--rows", metavar="ROWS", type=int, help="that are in memory at once; default: 1048576")
    parser.add_argument("--root", metavar="FOLDER", type=Path, help="of stores; default: data.root of the run")
    parser.add_argument("--store", metavar="FOLDER", type=Path, help="the store that the run was trained on")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Scores a file and returns 0.

    SystemExit 2, after one line on stderr, for a mistake of the user; 75 if a signal ended the command, which then
    leaves nothing half written.
    """
    output.make_safe()
    with reported_in_one_line(BEGINS_AGAIN):
        options = _parser().parse_args(arguments)
        require("ctr", _parser().prog)
        try:
            _run(options)
        except OSError as error:
            if error.errno is None:
                raise
            raise UserError(f"{error.filename or options.out}: {error.strerror}") from None
    return 0


def _run(options: argparse.Namespace) -> None:
    from mdaf.sweeper.predict.outputs import check_output, write_rows
    from mdaf.sweeper.predict.predictor import ROWS_AT_ONCE, Predictor
    from mdaf.terminal.progress import shown

    rows = ROWS_AT_ONCE if options.rows is None else options.rows
    if rows < 1:
        raise UserError(f"--rows {rows}: expected at least 1")
    for given in (options.file, options.events):
        if given is not None and given.exists() and options.out.exists() and given.samefile(options.out):
            raise UserError(f"--out {options.out}: is {given}, which is read; choose another name")
    check_output(options.out, options.score)
    predictor = Predictor(
        options.run,
        device=options.device,
        precision=options.precision,
        batch_size=options.batch_size,
        root=options.root,
        store=options.store,
    )
    with shown() as progress:
        scored = predictor.scored(
            options.file, options.events, score=options.score, rows_at_once=rows, progress=progress
        )
        count = write_rows(options.out, _until_asked(scored))
    print(f"{options.out}: {count:,} rows")


def _until_asked(blocks: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """The same blocks. Raises Interrupted after the one in which a signal came whose exception was lost."""
    for block in blocks:
        yield block
        if reason := signals.asked():
            raise signals.Interrupted(reason)
