"""All sections of a report in their order, the answer first."""

from __future__ import annotations

from pathlib import Path

from mdaf.multirun.analysis.report_data.content import Report
from mdaf.multirun.report.rendering.blocks import Section
from mdaf.multirun.report.sections.decision import decision_section
from mdaf.multirun.report.sections.evidence import (
    artifacts,
    comparison,
    configuration,
    confirmation,
    criteria,
    infrastructure,
    validity,
)
from mdaf.multirun.report.sections.results import results
from mdaf.multirun.report.sections.summary import findings
from mdaf.multirun.report.sections.verdict import verdict_section


def sections(report: Report, folder: Path | None = None) -> list[Section]:
    """All sections in their order, the answer first; those that this report has nothing for are left out.

    ``folder``  the report's, to which its runs' folders are relative; None: this one.
    """
    found = [verdict_section(report, folder), findings(report), results(report)]
    if report.figures.decision is not None:
        found.append(decision_section(report))
    if report.figures.confirmation is not None:
        found.append(confirmation(report))
    found += [configuration(report), comparison(report)]
    if report.figures.criteria:
        found.append(criteria(report))
    return [*found, infrastructure(report), validity(report), artifacts(report)]
