"""What charts have in common, and the chart of paired differences. One column, legend below, no title: for a phone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import plotly.graph_objects as go

COLOURS = ("#c2255c", "#1c7ed6", "#2f9e44", "#7048e8", "#e8590c", "#0c8599", "#a9660b", "#495057")
OTHER = "#868e96"
ROW = 230  # pixels of a row of a chart with several


class Compared(Protocol):
    """A comparison of two configurations, paired by seed."""

    @property
    def a(self) -> str: ...

    @property
    def b(self) -> str: ...

    @property
    def by_seed(self) -> Mapping[str, float]: ...

    @property
    def mean(self) -> float: ...

    @property
    def interval(self) -> tuple[float, float] | None: ...

    @property
    def verdict(self) -> str: ...


def differences(rows: Sequence[Compared], axis: str) -> go.Figure | None:
    """Paired differences: a dot a seed, the mean and its interval. ``axis`` says what they are differences of."""
    if not rows:
        return None
    figure = go.Figure()
    for index, row in enumerate(reversed(rows)):
        colour = {"better": COLOURS[2], "worse": COLOURS[4]}.get(row.verdict, OTHER)
        figure.add_scatter(
            x=list(row.by_seed.values()),
            y=[index] * len(row.by_seed),
            customdata=list(row.by_seed),
            mode="markers",
            marker={"color": colour, "size": 8, "opacity": 0.55},
            hovertemplate="seed %{customdata}: %{x:+.5f}<extra></extra>",
            showlegend=False,
        )
        ends = row.interval or (row.mean, row.mean)
        figure.add_scatter(
            x=[row.mean],
            y=[index + 0.22],
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [ends[1] - row.mean],
                "arrayminus": [row.mean - ends[0]],
            },
            mode="markers",
            marker={"color": colour, "size": 10, "symbol": "diamond"},
            hovertemplate=f"mean %{{x:+.5f}}, {row.verdict}<extra></extra>",
            showlegend=False,
        )
    labels = [f"{row.a}<br>- {row.b}" for row in reversed(rows)]
    figure.update_yaxes(tickvals=list(range(len(rows))), ticktext=labels)
    figure.update_xaxes(title=axis, zeroline=True, zerolinewidth=2, zerolinecolor="#212529")
    return laid_out(figure, rows=0.6 + 0.32 * len(rows))


def laid_out(figure: go.Figure, rows: float) -> go.Figure:
    """A figure with so many rows of height, readable on a phone."""
    figure.update_layout(
        template="plotly_white",
        height=math.ceil(110 + ROW * rows),
        margin={"t": 15, "l": 60, "r": 15, "b": 50},
        legend={"orientation": "h", "yanchor": "top", "y": -0.28 / max(rows, 1), "x": 0},
        font={"size": 12},
        dragmode=False,
    )
    figure.update_xaxes(automargin=True)
    return figure.update_yaxes(automargin=True)
