"""Sections as report.md and as report.html, one file that needs no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from mdaf.multirun.report.blocks import Section
from mdaf.terminal.printable import in_markdown, printable


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


def page(report: Head, sections: Sequence[Section], charts: Mapping[str, go.Figure | None]) -> str:
    """report.html with these charts; one that has nothing to show is None."""
    return (
        _templates(autoescape=True)
        .get_template("report.html.j2")
        .render(report=report, sections=sections, plotly=Markup(get_plotlyjs()), charts=_drawn(charts))
    )


def _drawn(charts: Mapping[str, go.Figure | None]) -> dict[str, Markup]:
    """Each chart as HTML without plotly.js; a chart that has nothing to show is absent."""
    settings = {"displaylogo": False, "responsive": True, "displayModeBar": False}
    return {
        name: Markup(figure.to_html(full_html=False, include_plotlyjs=False, div_id=f"chart-{name}", config=settings))
        for name, figure in charts.items()
        if figure is not None
    }


def _templates(autoescape: bool) -> Environment:
    finalize = _as_it_is_shown if autoescape else in_markdown
    environment = Environment(
        loader=PackageLoader("mdaf.multirun.report"),
        autoescape=autoescape,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = lambda text: str(text).replace("|", "\\|").replace("\n", " ")
    return environment


def _as_it_is_shown(value: Any) -> Any:
    return value if isinstance(value, Markup) else printable(value)
