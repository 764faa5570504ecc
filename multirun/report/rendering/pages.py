"""Sections as report.md and as report.html, one file that needs no network."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Protocol, TypeAlias

import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from mdaf.multirun.report.rendering.blocks import Chart, Section, every
from mdaf.pages.charts import chart
from mdaf.pages.document import copyable, document
from mdaf.terminal.printable import in_markdown, printable

WORDS = ("PASS", "FAIL", "PENDING", "better", "worse", "valid", "invalid")  # cells that are a judgement
LONG = 40  # characters of a cell that may break into lines
NUMBER = re.compile(r"-|(< )?[\[+−-]?[\d.,]+([eE][+-]?\d+)?( ?(%|s|min|h))?|\[[^\]]*\]")

Drawn: TypeAlias = "go.Figure | str | None"  # of plotly, as SVG, or nothing to show


class Head(Protocol):
    """What stands above the sections of a report."""

    @property
    def title(self) -> str: ...

    @property
    def written(self) -> str: ...

    @property
    def commit(self) -> str | None: ...


def markdown(report: Head, sections: Sequence[Section]) -> str:
    """report.md: everything but the charts."""
    return _templates(autoescape=False).get_template("report.md.j2").render(report=report, sections=sections)


def page(
    report: Head, sections: Sequence[Section], charts: Mapping[str, Drawn], colours: Mapping[str, str] | None = None
) -> str:
    """report.html with these charts; one that has nothing to show is None. ``colours``: of each configuration."""
    drawn = {name: _html(name, found, _caption(name, sections)) for name, found in charts.items() if found is not None}
    body = (
        _templates(autoescape=True)
        .get_template("report.html.j2")
        .render(sections=sections, charts=drawn, colours=colours or {})
    )
    written = f"Written {report.written}"
    meta = [f"{written} by commit {report.commit[:12]}" if report.commit else written]
    plotly = any(isinstance(found, go.Figure) for found in charts.values())
    return document(printable(report.title), meta, body, plotly=plotly)


def _html(name: str, found: go.Figure | str, caption: str) -> Markup:
    if isinstance(found, str):
        return (
            Markup(f'<figure id="chart-{name}">\n{found}\n<figcaption>')
            + printable(caption)
            + Markup("</figcaption>\n</figure>")
        )
    return Markup(chart(found, f"chart-{name}", printable(caption), printable(caption)))


def _caption(name: str, sections: Sequence[Section]) -> str:
    held = every(block for section in sections for block in section.blocks)
    return next((block.caption for block in held if isinstance(block, Chart) and block.name == name), "")


@functools.cache
def _templates(autoescape: bool) -> Environment:
    escape = printable if autoescape else in_markdown
    environment = Environment(
        loader=PackageLoader("mdaf.multirun.report.rendering"),
        autoescape=autoescape,
        finalize=lambda value: value if isinstance(value, Markup) else escape(value),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = lambda text: str(text).replace("|", "\\|").replace("\n", " ")
    environment.filters["kind"] = _kind
    environment.filters["copyable"] = lambda line: Markup(copyable(printable(line), "deploy"))
    environment.filters["numbers"] = _numbers
    environment.filters["point"] = lambda text: str(text).partition(" (")[0]
    return environment


def _kind(cell: str) -> str:
    """The class of a cell: a judgement, a number, or a long text."""
    if cell in WORDS:
        return cell
    return "number" if NUMBER.fullmatch(cell) else "long" if len(cell) > LONG else ""


def _numbers(rows: Sequence[Sequence[str]], column: int) -> str:
    """The class of a column's heading: as its cells, where all are numbers."""
    return "number" if rows and all(_kind(row[column]) == "number" for row in rows) else ""
