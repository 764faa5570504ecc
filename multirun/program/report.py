"""Writes a report on another program's study, reads it, and computes it again from the values of its runs."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from optuna.study import Study

from mdaf.errors import UserError
from mdaf.files.atomic import write_atomically
from mdaf.multirun.analysis.report_data.json_form import from_json
from mdaf.multirun.program.content import FORMAT, KIND, Inputs, Report
from mdaf.multirun.program.figures import compute
from mdaf.multirun.program.sections import charts, colours, sections
from mdaf.multirun.report.differences import Difference, as_read, differences, explained
from mdaf.multirun.report.rendering import pages
from mdaf.naming.studies import numbered
from mdaf.sweeper.runs.provenance import commit, versions
from mdaf.sweeper.runs.reader import read_json
from mdaf.sweeper.storage.opening import open_storage
from mdaf.sweeper.study.queries import load_study

log = logging.getLogger(__name__)

NOT_OF_THE_PLAN = (
    "title",
    "runs",
    "failed",
    "distances",
    "search_seeds",
    "looks",
)  # inputs that may change while it is run


def write_report(first: Path, inputs: Inputs, study: Study, runs_of: Study) -> tuple[Path, Report]:
    """Writes the three files into ``first``, or beside the report of another plan; that folder, and the report."""
    computed = Report(
        title=inputs.title,
        written=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=commit() or None,
        versions=versions(),
        inputs=inputs,
        figures=compute(inputs, study, runs_of),
    )
    content = as_read(computed.to_json())
    report = Report.from_json(content)
    folder = _folder_of(first, content["inputs"])
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "report.json", json.dumps(content, indent=1, allow_nan=False) + "\n")
    _write(folder / "report.md", pages.markdown(report, sections(report)))
    _write(folder / "report.html", pages.page(report, sections(report), charts(report), colours(report)))
    return folder, report


def _write(file: Path, text: str) -> None:
    write_atomically(file, lambda handle: handle.write(text.encode()))


def _folder_of(first: Path, inputs: Mapping[str, Any]) -> Path:
    """``first``, or the first of ``report-2``, ``report-3``, ... beside it that holds no report of another plan."""
    for folder in numbered(first):
        if not (folder / "report.json").exists():
            break
        try:
            held = read_report(folder / "report.json")["inputs"]
            if _plan_of(held) == _plan_of(inputs):
                break
        except (UserError, AttributeError, KeyError, TypeError):  # of another form: it stays as it is
            continue
    if folder != first:
        log.warning("%s: holds the report of another plan, which stays; this one goes to %s", first, folder)
    return folder


def _plan_of(inputs: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: held for name, held in ({"forced": [], "signs": {}} | dict(inputs)).items() if name not in NOT_OF_THE_PLAN
    }


# ---- verifying


def is_of_a_program(file: Path) -> bool:
    """Whether a file is a report on another program's study. UserError if there is none."""
    content = read_json(file, "write the report again")
    return isinstance(content, dict) and content.get("kind") == KIND


def read_report(file: Path) -> dict[str, Any]:
    """What stands in a report.json; UserError if there is none or it is not one of another program's study."""
    report: dict[str, Any] = read_json(file, "write the report again")
    if report.get("kind") != KIND or not {"format", "inputs", "figures"} <= set(report):
        raise UserError(f"{file}: holds no figures, expected a report.json that mdaf-phase4 program=... wrote")
    if report["format"] != FORMAT:
        raise UserError(f"{file}: is of format {report['format']}, expected {FORMAT}; write the report again")
    return report


def verify(file: Path, url: str) -> list[Difference]:
    """The differences between a report and what the values of its runs give; none if it holds.

    ``url``  the study database, which no report names.
    """
    report = read_report(file)
    with explained(file):
        inputs = from_json(Inputs, report["inputs"])
        storage = open_storage(url, create=False, read_only=True)
        study, runs_of = load_study(storage, inputs.study), load_study(storage, inputs.runs_of)
        _check_rules(file, inputs, study)
        computed = as_read(compute(inputs, study, runs_of).to_json())
        order = ["runs", *(name for name in report["figures"] if name != "runs")]
        return [d for name in order for d in differences(report["figures"].get(name), computed.get(name), name)]


def _check_rules(file: Path, inputs: Inputs, study: Study) -> None:
    """UserError where a report judges by another rule than its study has, or counts a run twice."""
    directions = [direction.name.lower() for direction in study.directions]
    known = directions[inputs.index] if inputs.index in range(len(directions)) else "no such objective"
    if inputs.direction != known:
        raise UserError(
            f"{file}: says {inputs.direction} of objective {inputs.index}, but study {study.study_name} has {known}; "
            "write the report again"
        )
    if not 0 < inputs.alpha < 1:
        raise ValueError(f"alpha is {inputs.alpha}, expected a number in (0, 1)")
    ids = [run.id for run in inputs.runs]
    if twice := sorted({one for one in ids if ids.count(one) > 1}):
        raise UserError(f"{file}: has the run {twice[0]} twice, expected each once; write the report again")
