"""Writes the study query's answers down: tables for people, CSV, JSON and Parquet for scripts.

Everything that leaves goes through here, and every string of it through ``masked_text``: no password is shown.
"""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
import sys
import textwrap
from collections.abc import Collection, Sequence
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any

import typer
from rich.table import Table

from mdaf.extras import imported
from mdaf.files.atomic import write_atomically
from mdaf.files.replacing import Start, check_replaceable
from mdaf.pages.document import is_page
from mdaf.sweeper.runs.metric_columns import RECORDED
from mdaf.sweeper.storage.opening import masked_text
from mdaf.sweeper.study.queries import QueryError, Row
from mdaf.terminal import tables
from mdaf.terminal.output import can_show
from mdaf.terminal.printable import in_a_cell, in_a_line, printable

_FLOATS = {"value", *RECORDED, "duration", "mean", "standard_error", "posterior_mean", "posterior_sd"}
_INTEGERS = {"number", "seed", "best_epoch", "runs", "diverged", "complete", "pruned", "fail", "running", "waiting"}
_TIMES = {"datetime_start", "datetime_complete"}


# Of rows of trials, rows of points, each as CSV and as JSON, and of a whole study.
_BEGINNINGS = (
    b"number,state,",
    b"id,name,runs,",
    b'[\n  {\n    "number": ',
    b'[\n  {\n    "id": ',
    b"[]\n",
    b'{\n  "optuna": ',
)


class RowsFormat(str, Enum):  # noqa: UP042
    """How rows are written; ``parquet`` goes to a file."""

    table = "table"
    csv = "csv"
    json = "json"
    parquet = "parquet"


def say(text: str) -> None:
    """A line on standard output."""
    typer.echo(printable(masked_text(text)))


def note(text: str) -> None:
    """A line on standard error, beside the answer."""
    typer.echo(in_a_line(masked_text(text)), err=True)


def plain(value: Any) -> Any:
    """``value`` in JSON's types: a number that isn't finite becomes "nan", "inf" or "-inf", a time ISO 8601."""
    if isinstance(value, dict):
        return {masked_text(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    if isinstance(value, datetime):
        return value.isoformat()
    return value if value is None or isinstance(value, bool | int | float) else masked_text(str(value))


def json_text(value: Any) -> str:
    """Indented JSON, keys in the order of the answer; in ASCII where standard output has no other characters."""
    text = printable(json.dumps(plain(value), indent=2, ensure_ascii=False))
    return text if can_show(text) else json.dumps(plain(value), indent=2)


def csv_text(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """CSV with a header; a missing value is an empty field, a list or dict is JSON, numbers have all their digits."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(in_a_cell(printable(name)) for name in columns)
    writer.writerows([_spreadsheet_field(row[name]) for name in columns] for row in rows)
    return out.getvalue()


def parquet_bytes(rows: Sequence[Row], names: Sequence[str]) -> bytes:
    """Parquet whose column types don't depend on which trials there are.

    A list or dict is a string of JSON. So is each number of a column that has a whole number of more than 64 bits.
    """
    pl = imported("polars", "parquet", "--format parquet")
    columns = []
    for name in names:
        values, heading = [row[name] for row in rows], printable(name)
        kinds = {str if _is_longer(value) else type(value) for value in values if value is not None}
        if name in _TIMES:
            columns.append(pl.Series(heading, values, dtype=pl.Datetime("us")))
        elif kinds == {bool}:
            columns.append(pl.Series(heading, values, dtype=pl.Boolean))
        elif kinds <= {int} and (kinds or name in _INTEGERS) and name not in _FLOATS:
            columns.append(pl.Series(heading, values, dtype=pl.Int64))
        elif kinds <= {int, float} and (kinds or name in _FLOATS):
            columns.append(pl.Series(heading, values, dtype=pl.Float64, strict=False))
        else:
            texts = [None if value is None else printable(_field(value)) for value in values]
            columns.append(pl.Series(heading, texts, dtype=pl.String))
    out = io.BytesIO()
    pl.DataFrame(columns).write_parquet(out)
    return out.getvalue()


def _is_longer(value: Any) -> bool:
    """Whether a value is a whole number of more than 64 bits, which no column of numbers holds."""
    return isinstance(value, int) and not -(1 << 63) <= value < 1 << 63


def print_table(
    rows: Sequence[Row],
    columns: dict[str, str] | None = None,
    important: Sequence[str] = (),
    instead: str = "--format json has all",
) -> None:
    """Prints rows under the headings ``columns`` (key: heading; default: every key). A column without a value is none.

    Off a terminal it is never cut. On one that is too narrow the columns that matter least are left out, which is said,
    with what to type ``instead``. ``important`` are the keys that matter most, in order; the others follow in theirs.
    """
    columns = dict(columns or {name: name for row in rows[:1] for name in row})
    if not columns:
        return
    console = tables.console()
    if not console.is_terminal:
        console.file = io.StringIO()
    table, dropped = laid_out(rows, columns, console.width, important)
    console.print(table)
    if isinstance(console.file, io.StringIO):
        for line in console.file.getvalue().splitlines():
            typer.echo(line.rstrip())
    if dropped:
        note(tables.left_out(dropped, instead))


def has_room_for(keys: Collection[str], rows: Sequence[Row], columns: dict[str, str], important: Sequence[str]) -> bool:
    """Whether a table of these rows shows the columns ``keys`` here. Off a terminal it shows all."""
    _, dropped = laid_out(rows, columns, tables.console().width, important)
    return {columns[key] for key in keys if key in columns}.isdisjoint(dropped)


def print_below(rows: Sequence[Row], columns: dict[str, str]) -> None:
    """Prints rows for a terminal that is too narrow for a table: the first column, and the others below it."""
    tables.print_below(_columns(rows, columns), tables.console())


def laid_out(
    rows: Sequence[Row], columns: dict[str, str], width: int, important: Sequence[str] = ()
) -> tuple[Table, list[str]]:
    """Rows as a table that fits into ``width``, numbers to the right, and the headings of what did not fit."""
    return tables.fitted(_columns(rows, columns, important), width, framed=False)


def _columns(rows: Sequence[Row], columns: dict[str, str], important: Sequence[str] = ()) -> list[tables.Column]:
    """The columns that have a value in any row; all of them where there is no row."""
    ranks = {key: rank for rank, key in enumerate(dict.fromkeys([*important, *columns]))}
    return [
        tables.Column(
            masked_text(heading),
            [_cell(row[key]) for row in rows],
            right=any(isinstance(row[key], int | float) for row in rows),
            rank=ranks[key],
        )
        for key, heading in columns.items()
        if not rows or any(row[key] not in (None, "") for row in rows)
    ]


def print_record(record: dict[str, Any], indent: str = "") -> None:
    """Prints a record as lines of name and value; an inner record or a text of several lines is indented below.

    What has no value is left out.
    """
    known = {in_a_line(key): value for key, value in record.items() if _has_value(value)}
    width = max((len(key) for key, value in known.items() if not _is_block(value)), default=0)
    for key, value in known.items():
        if isinstance(value, dict):
            say(f"{indent}{key}")
            print_record(value, indent + "  ")
        elif _is_block(value):
            say(f"{indent}{key}")
            for line in str(value).rstrip().splitlines():
                say(f"{indent}  {line}")
        else:
            say(_wrapped(f"{indent}{key.ljust(width)}  ", f"{_field(value)}").rstrip())


def _wrapped(before: str, text: str) -> str:
    """A text after ``before``, on a terminal in lines that fit and are broken between words alone."""
    room = shutil.get_terminal_size().columns - len(before)
    if not sys.stdout.isatty() or len(text) <= room or room < tables.SENTENCE:
        return before + text
    lines = textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False)
    return before + f"\n{' ' * len(before)}".join(lines)


def check_ending(path: Path, *endings: str) -> str:
    """The ending of a file to write, in small letters. QueryError if it is none of ``endings``."""
    ending = path.suffix.lower()
    if ending not in endings:
        raise QueryError(f"--output {path}: expected a name that ends in {' or '.join(endings)}")
    return ending


def write_whole(path: Path, content: str | bytes) -> None:
    """Writes the file under a temporary name, then renames it: nobody reads a half.

    UserError if a file of that name is there that no command of a study wrote.
    """
    check_replaceable(path, f"--output {path}", "file that mdaf-study wrote", _is_of_a_study)
    whole = content.encode() if isinstance(content, str) else content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda file: file.write(whole))
    except OSError as error:
        raise QueryError(f"can't write {path}: {error.strerror}") from None


def _is_of_a_study(start: Start) -> bool:
    """Whether a file that begins so is rows of trials or points, a whole study, or a page."""
    columns = (b"number", b"state"), (b"posterior_mean", b"seeds")
    if start.footer:
        return any(all(name in start.footer for name in names) for names in columns)
    return is_page(start) or start.head.startswith(_BEGINNINGS)


def write_rows(rows: list[Row], names: list[str], form: RowsFormat, output: Path | None) -> None:
    """Writes rows into a file, or on standard output."""
    content: str | bytes
    if form is RowsFormat.parquet:
        content = parquet_bytes(rows, names)
    else:
        content = csv_text(rows, names) if form is RowsFormat.csv else json_text(rows) + "\n"
    if output is not None:
        write_whole(output, content)
    else:
        typer.echo(content, nl=False)


def _has_value(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_has_value(item) for item in value.values())
    return value is not None and value != "" and value != []


def _is_block(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, str) and "\n" in value.strip())


def _field(value: Any) -> Any:
    """One value on one line, all of it."""
    value = plain(value)
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return "" if value is None else value


def _spreadsheet_field(value: Any) -> Any:
    field = _field(value)
    return in_a_cell(printable(field)) if isinstance(field, str) else field


def _cell(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    text = f"{value:.5g}" if isinstance(value, float) else str(_field(value))
    return printable(" ".join(text.splitlines()))
