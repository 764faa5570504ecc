"""What charts of plotly have in common: a look that follows the page's light or dark, and a text in place of each."""

from __future__ import annotations

import html
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

MOST_DESCRIBED = 12  # series of a chart that its text names
INK = "#57606b"  # of texts, until the style sheet has its say


def laid_out(figure: Figure, height: int) -> Figure:
    """A figure of so many pixels' height, readable on a phone: no title, the legend above, no background."""
    figure.update_layout(
        title=None,
        template="plotly_white",
        height=height,
        margin={"t": 36, "l": 50, "r": 12, "b": 44},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.0, "x": 0, "xanchor": "left"},
        font={"size": 12, "color": INK, "family": "system-ui, sans-serif"},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        hoverlabel={"font": {"color": "#ffffff"}},
        dragmode=False,
    )
    figure.update_xaxes(automargin=True, title_standoff=8, exponentformat="e")
    return figure.update_yaxes(automargin=True, title_standoff=8, exponentformat="e")


def chart(figure: Figure, element: str, title: str, caption: str = "") -> str:
    """A figure as HTML without plotly.js: readers of the screen hear its ``title`` and what its series say.

    A figure of several plots beside each other keeps its width on a phone and is scrolled there, as a table is.
    """
    settings = {"displaylogo": False, "responsive": True, "displayModeBar": False}
    drawn = figure.to_html(full_html=False, include_plotlyjs=False, div_id=element, config=settings)
    label = html.escape(f"{title}. {' '.join(described(figure))}", quote=True)
    below = f"<figcaption>{html.escape(caption)}</figcaption>\n" if caption else ""
    shown = f'<div class="chart" role="img" aria-label="{label}">\n{drawn}\n</div>'
    if "xaxis2" in figure.layout:
        group = f'role="group" aria-label="Chart: {html.escape(title, quote=True)}"'
        shown = f'<div class="scroll wide" tabindex="0" {group}>\n{shown}\n</div>'
    return f"<figure>\n{shown}\n{below}</figure>"


def described(figure: Figure) -> Iterator[str]:
    """A chart in sentences: its axes, and the first and the last value of each series."""
    axes = {name: figure.layout[name].title.text for name in ("xaxis", "yaxis") if figure.layout[name].title.text}
    if axes:
        yield " and ".join(f"{name[0]} axis: {text}" for name, text in axes.items()) + "."
    named = [trace for trace in figure.data if trace.name and trace.showlegend is not False]
    for trace in named[:MOST_DESCRIBED]:
        values = [value for value in _values(trace) if isinstance(value, int | float)]
        if len(values) == 1:
            yield f"{trace.name}: {values[0]:.4g}."
        elif values:
            yield f"{trace.name}: {len(values)} values, from {values[0]:.4g} to {values[-1]:.4g}."
    if len(named) > MOST_DESCRIBED:
        yield f"And {len(named) - MOST_DESCRIBED} more."


def _values(trace: Any) -> list[Any]:
    values = getattr(trace, "y", None)
    if values is None:
        return []
    return [value.item() if hasattr(value, "item") else value for value in values]
