"""Writes a report: report.json with every figure, and the same in words as report.md and report.html."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mdaf.errors import UserError
from mdaf.files.atomic import write_atomically
from mdaf.multirun.analysis.figures import compute
from mdaf.multirun.analysis.report_data.content import Report
from mdaf.multirun.analysis.report_data.inputs import Inputs
from mdaf.multirun.report.differences import as_read
from mdaf.multirun.report.inputs import RULES
from mdaf.multirun.report.rendering import pages
from mdaf.multirun.report.rendering.charts import CHARTS, colours
from mdaf.multirun.report.sections.order import sections
from mdaf.multirun.report.verify import read_report
from mdaf.naming.studies import numbered
from mdaf.sweeper.runs.lock import locked
from mdaf.sweeper.runs.provenance import commit, versions

log = logging.getLogger(__name__)


def write_report(folder: Path, inputs: Inputs, test_reads: Sequence[Mapping[str, Any]]) -> Report:
    """Computes every figure, writes the three files into ``folder`` and returns the report as they hold it."""
    folder.mkdir(parents=True, exist_ok=True)
    computed = Report(
        title=inputs.title,
        written=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=commit(),
        versions=versions(),
        inputs=inputs,
        figures=compute(inputs, folder),
        test_reads=[dict(read) for read in test_reads],
    )
    content = as_read(computed.to_json())
    report = Report.from_json(content)
    _write(folder / "report.json", json.dumps(content, indent=1, allow_nan=False) + "\n")
    _write(folder / "report.md", markdown(report, folder))
    _write(folder / "report.html", page(report, folder))
    return report


def write_beside_others(
    first: Path, inputs: Callable[[Path], Inputs], test_reads: Sequence[Mapping[str, Any]]
) -> tuple[Path, Report]:
    """Writes the report that has these ``inputs`` in a folder, into ``first`` or one beside it; that folder, and it.

    UserError if another process writes one there.
    """
    first.mkdir(parents=True, exist_ok=True)
    with locked(first):
        folder = folder_of_plan(first, inputs(first))
        return folder, write_report(folder, inputs(folder), test_reads)


def folder_of_plan(first: Path, inputs: Inputs) -> Path:
    """``first``, or the first of ``report-2``, ``report-3``, ... beside it that holds no report of another plan."""
    for folder in numbered(first):
        if not (folder / "report.json").exists():
            break
        try:
            held = plan_of(read_report(folder / "report.json")["inputs"])
        except (UserError, KeyError, TypeError):  # damaged, or of another version: it stays as it is
            continue
        if held == plan_of(as_read(inputs.to_json())):
            break
    if folder != first:
        log.warning("%s: holds the report of another plan, which stays; this one goes to %s", first, folder)
    return folder


def plan_of(inputs: Mapping[str, Any]) -> list[Any]:
    """What a report is on: its points and candidates, their seeds and epochs, and the rules of judgement.

    One of no study is on just these runs.
    """
    points, candidates = (
        [[one["name"], one["overrides"]] for one in inputs[name]] for name in ("points", "candidates")
    )
    seeds = [inputs["seeds"][name] for name in ("confirmation", "phase 4")]
    runs = [] if inputs["study"] else sorted([run["config_hash"], run["data_hash"]] for run in inputs["runs"])
    looks = inputs.get("looks") or {}
    design = [*(inputs.get(name) for name in ("design", "rows", "margin")), looks.get("planned")]
    rules = [inputs[name] for name in RULES]
    return [inputs["study"], points, candidates, seeds, runs, inputs["epochs"], *design, *rules]


def markdown(report: Report, folder: Path | None = None) -> str:
    """report.md, which lies in ``folder``: everything but the charts."""
    return pages.markdown(report, sections(report, folder))


def page(report: Report, folder: Path | None = None) -> str:
    """report.html, which lies in ``folder``: one file that needs no network."""
    drawn = {name: draw(report) for name, draw in CHARTS.items()}
    return pages.page(report, sections(report, folder), drawn, colours(report))


def _write(file: Path, text: str) -> None:
    write_atomically(file, lambda handle: handle.write(text.encode()))
