"""The sections of a report on another program's study in their order, and its charts."""

from __future__ import annotations

from mdaf.multirun.program.content import Report
from mdaf.multirun.program.evidence_sections import configuration, confirmation, results, runs, validity
from mdaf.multirun.program.verdict_sections import findings, verdict_section
from mdaf.multirun.report.rendering.blocks import Section
from mdaf.multirun.report.rendering.pages import Drawn
from mdaf.multirun.report.rendering.pictures import differences, spreads
from mdaf.pages.palette import colours_of


def sections(report: Report) -> list[Section]:
    """All sections in their order, the answer first."""
    found = [verdict_section(report), findings(report), results(report)]
    if report.figures.confirmation is not None:
        found.append(confirmation(report, report.figures.confirmation))
    return [*found, configuration(report), validity(report), runs(report)]


def colours(report: Report) -> dict[str, str]:
    """The colour of each point, the same in all charts."""
    inputs = report.inputs
    return colours_of([inputs.winner, inputs.baseline, *inputs.candidates], inputs.winner)


def charts(report: Report) -> dict[str, Drawn]:
    """The charts by name."""
    inputs, figures = report.inputs, report.figures
    rows = {
        name: ([figures.runs[run] for run in block.from_], block.spread.mean, block.spread.t_interval)
        for name, block in figures.configurations.items()
    }
    return {
        "pairs": differences(
            figures.comparisons,
            f"difference in {inputs.objective}",
            colours(report),
            margin=inputs.margin,
            greater_is_better=inputs.sign > 0,
        ),
        "spreads": spreads(rows, inputs.objective, colours(report)),
    }
