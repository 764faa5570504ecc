"""Prints runs and groups of runs: a table for people, JSON and CSV for scripts."""

from __future__ import annotations

import csv
import io
import json
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from mdaf.sweeper.run_folders.found import Group, Run, differing
from mdaf.sweeper.runs.metric_columns import column
from mdaf.terminal import tables
from mdaf.terminal.programs import command

COLUMNS = ("kind", "path", "status", "runs", "best", "metric", "best_run", "seed", "what", "written", "bytes", "remark")
PLAIN = ("kind", "status")  # need no heading
MOST_ASKED_FOR = {"status", "best", "age"}  # headings that no terminal is too narrow for
_UNITS = ("B", "kB", "MB", "GB", "TB")


def row_of(group: Group) -> dict[str, Any]:
    """A group of runs as a record."""
    if group.kind == "run":
        return row_of_run(group.runs[0])
    best, keys = group.best, differing(group.runs)
    common = [text for text in group.runs[0].overrides if text.partition("=")[0] not in keys]
    different = f"(differing in {', '.join(keys)})" if keys else ""
    return {
        "kind": group.kind,
        "path": str(group.path),
        "status": group.status,
        "runs": dict(Counter(run.status for run in group.runs)),
        "best": None if best is None else best.value,
        "metric": None if best is None else best.monitor,
        "best_run": None if best is None else str(best.path),
        "seed": None,
        "what": " ".join([*common, different]).strip(),
        "written": max(run.written for run in group.runs),
        "bytes": sum(run.size for run in group.runs),
        "remark": "has a report" if group.has_report else "",
    }


def row_of_run(run: Run) -> dict[str, Any]:
    """A run as a record."""
    return {
        "kind": "run",
        "path": str(run.path),
        "status": run.status,
        "runs": {run.status: 1},
        "best": run.value,
        "metric": None if run.value is None else run.monitor,
        "best_run": None,
        "seed": run.seed,
        "what": " ".join(text for text in run.overrides if not text.startswith("seed=")),
        "written": run.written,
        "bytes": run.size,
        "remark": run.remark,
    }


def print_json(rows: Sequence[Mapping[str, Any]]) -> None:
    """The rows as one list in JSON."""
    print(json.dumps(list(rows), indent=2))


def print_csv(rows: Sequence[Mapping[str, Any]]) -> None:
    """The rows as CSV, with the names of ``COLUMNS`` first; ``runs`` is written as ``status=count``."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({**row, "runs": " ".join(f"{status}={count}" for status, count in row["runs"].items())})
    sys.stdout.write(text.getvalue())


def print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """The rows in a table as wide as the terminal, and what is left out of it."""
    block = [
        tables.Column("folder", [row["path"] for row in rows], rank=0),
        tables.Column("kind", [row["kind"] for row in rows], rank=5),
        tables.Column("status", [_status(row) for row in rows], rank=1),
        tables.Column("best", [_value(row) for row in rows], right=True, rank=2),
        tables.Column("seed", ["" if row["seed"] is None else str(row["seed"]) for row in rows], right=True, rank=6),
        tables.Column("age", [age(row["written"]) for row in rows], right=True, rank=3),
        tables.Column("size", [size(row["bytes"]) for row in rows], right=True, rank=4),
        tables.Column("what was typed", [row["what"] for row in rows], rank=7),
    ]
    kept = [one for one in block if any(one.cells)]
    console = tables.console()
    table, left_out = tables.fitted(kept, console.width, framed=False)
    if not MOST_ASKED_FOR.isdisjoint(left_out):  # beside folders with long names
        tables.print_below(kept, console, PLAIN)
        return
    console.print(table)
    if left_out:
        print(tables.left_out(left_out, f"{command('sweeper')} runs --format json has all"), file=sys.stderr)


def age(written: float) -> str:
    """How long ago a time was, in its largest unit."""
    seconds = max(0.0, time.time() - written)
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def size(count: int) -> str:
    """A number of bytes, in its largest unit."""
    value = float(count)
    for unit in _UNITS:
        if value < 1000 or unit == _UNITS[-1]:
            return f"{value:.0f} {unit}"
        value /= 1000
    raise AssertionError


def _status(row: Mapping[str, Any]) -> str:
    counts = row["runs"]
    if sum(counts.values()) == 1 and row["kind"] == "run":
        return str(row["status"])
    said = ", ".join(f"{count} {status}" for status, count in counts.items())
    return f"{said}, report" if row["remark"] == "has a report" else said


def _value(row: Mapping[str, Any]) -> str:
    if row["best"] is None:
        return ""
    one = column(row["metric"])
    return f"{format(row['best'], one.format)} {one.heading}"
