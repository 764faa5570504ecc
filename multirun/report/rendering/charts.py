"""A report's charts, drawn from its figures. Each is readable on a phone: one column, legend below, no title."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mdaf.multirun.analysis.report_data.content import Comparison, ConfigurationFigures, Report
from mdaf.multirun.analysis.report_data.inputs import CONFIRMATION, PHASE_4, SEARCH, SearchTrial
from mdaf.multirun.analysis.wording import within
from mdaf.multirun.report.rendering.pages import Drawn
from mdaf.multirun.report.rendering.pictures import differences, spreads
from mdaf.pages.charts import laid_out
from mdaf.pages.palette import BASELINE, BEST, NAMED, OTHER, colours_of, with_opacity

ROW = 250  # pixels of a row of a chart


def colours(report: Report) -> dict[str, str]:
    """The colour of each configuration, the same in all charts."""
    return colours_of([point.name for point in report.inputs.points], report.inputs.winner)


def curves(report: Report) -> go.Figure | None:
    """Validation and training AUC by epoch: mean over the seeds, band of all of them."""
    columns = (("val_auc", "validation AUC"), ("train_auc", "training AUC"))
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.08)
    for name, block, colour in _configurations(report):
        for row, (column, _) in enumerate(columns, start=1):
            _band(figure, block.curve, column, name, colour, row)
    for row, (_, title) in enumerate(columns, start=1):
        figure.update_yaxes(title=title, row=row, col=1)
    figure.update_xaxes(title="epoch", dtick=1, row=2, col=1)
    return laid_out(figure, 110 + 2 * ROW)


def gates(report: Report) -> go.Figure | None:
    """Gate by epoch: mean over seeds, standard deviation over rows as bars, and the range of all rows as a band."""
    figure = make_subplots(rows=1, cols=1)
    for name, block, colour in _configurations(report):
        columns = ("gate_mean", "gate_std", "gate_min", "gate_max")
        points = [point for point in block.curve if all(point[column] is not None for column in columns)]
        if not points:
            continue
        epochs = [point["epoch"] for point in points]
        _filled(
            figure,
            epochs,
            [point["gate_min"]["low"] for point in points],
            [point["gate_max"]["high"] for point in points],
            name,
            colour,
            0.08,
        )
        figure.add_scatter(
            x=epochs,
            y=[point["gate_mean"]["mean"] for point in points],
            error_y={
                "type": "data",
                "array": [point["gate_std"]["mean"] for point in points],
                "thickness": 1,
                "width": 3,
            },
            name=name,
            legendgroup=name,
            mode="lines+markers",
            line={"color": colour},
        )
    if not figure.data:
        return None
    figure.update_xaxes(title="epoch", dtick=1)
    figure.update_yaxes(title="share of the static branch", range=[0, 1])
    return laid_out(figure, 100 + ROW)


def landscape(report: Report) -> go.Figure | None:
    """Value of every trial by each searched parameter; known points and the winner have a name."""
    inputs = report.inputs
    trials = [trial for trial in inputs.trials if trial.value is not None]
    names = sorted({name for trial in trials for name in trial.params})
    numeric = [name for name in names if all(isinstance(trial.params.get(name), int | float) for trial in trials)]
    if not numeric:
        return None
    figure = make_subplots(rows=len(numeric), cols=1, vertical_spacing=min(0.16, 0.4 / len(numeric)))
    groups: dict[str, list[SearchTrial]] = {"other trials": []}
    for trial in trials:
        name = trial.known or "other trials"
        if trial.trial == inputs.winner_trial:
            name = f"winner, {trial.known}" if trial.known else "winner"
        groups.setdefault(name, []).append(trial)
    for row, parameter in enumerate(numeric, start=1):
        for group, members in groups.items():
            figure.add_scatter(
                x=[trial.params[parameter] for trial in members],
                y=[trial.value for trial in members],
                customdata=[trial.trial for trial in members],
                name=group,
                legendgroup=group,
                showlegend=row == 1 and bool(members),
                mode="markers",
                marker={
                    "color": (BEST if group == "winner" else NAMED.get(group.rpartition(", ")[2], OTHER)),
                    "size": 8 if group == "other trials" else 13,
                    "symbol": "circle" if group == "other trials" else "diamond",
                },
                hovertemplate="trial %{customdata}: %{y:.5f} at %{x}<extra></extra>",
                row=row,
                col=1,
            )
        values = [trial.params[parameter] for trial in trials]
        wide = min(values) > 0 and max(values) / min(values) > 5
        figure.update_xaxes(title=parameter.rpartition(".")[2], type="log" if wide else "linear", row=row, col=1)
        if wide:
            figure.update_xaxes(dtick="D2", row=row, col=1)  # 1, 2 and 5: more would overlap on a phone
        figure.update_yaxes(title="validation AUC", row=row, col=1)
    figure.update_xaxes(exponentformat="e")
    return laid_out(figure, 100 + ROW * len(numeric))


def pairs(report: Report) -> str | None:
    """The question's difference, or all where no question was asked, against zero and the margin."""
    asked = report.figures.decision
    return _differences(report, [row for row in report.figures.comparisons if asked is None or _is_asked(report, row)])


def secondary(report: Report) -> str | None:
    """The differences beside the question."""
    if report.figures.decision is None:
        return None
    return _differences(report, [row for row in report.figures.comparisons if not _is_asked(report, row)])


def _is_asked(report: Report, row: Comparison) -> bool:
    asked = report.figures.decision
    return asked is not None and (row.a, row.b) == (asked.a, asked.b)


def _differences(report: Report, rows: Sequence[Comparison]) -> str | None:
    inputs = report.inputs
    return differences(rows, f"difference in AUC on {inputs.rows} rows", colours(report), margin=inputs.margin)


def spread(report: Report) -> str | None:
    """The AUC of each configuration: a dot a seed, the mean and its interval."""
    found = report.figures.configurations
    on_test = any("test_auc" in block.figures for block in found.values())
    rows = {}
    for name, block in found.items():
        of = block.figures.get("test_auc" if on_test else "val_auc")
        if of is not None:
            runs = [report.figures.runs[run] for run in block.from_]
            values = [run.test_auc if on_test else run.best["val_auc"] for run in runs]
            held = [value for value in values if value is not None]
            rows[name] = (held, of.mean, within(of.t_interval))
    return spreads(rows, f"AUC on {'test' if on_test else 'validation'} rows", colours(report))


def times(report: Report) -> go.Figure | None:
    """Seconds of every epoch, runs one after another."""
    figure = go.Figure()
    start = 0
    for stage, colour in zip((SEARCH, CONFIRMATION, PHASE_4), (OTHER, BASELINE, BEST), strict=True):
        x, y, text = [], [], []
        for name, run in report.figures.runs.items():
            if not name.startswith(f"{stage}/"):
                continue
            for row in run.history:
                start += 1
                x.append(start)
                y.append(row["epoch_seconds"])
                text.append(f"{name}, epoch {row['epoch']}")
        if x:
            figure.add_scatter(
                x=x,
                y=y,
                text=text,
                name=stage,
                mode="lines+markers",
                line={"color": colour, "width": 1},
                marker={"size": 5},
                hovertemplate="%{text}: %{y:.1f} s<extra></extra>",
            )
    figure.update_xaxes(title="epoch, over all runs")
    figure.update_yaxes(title="seconds of an epoch", rangemode="tozero")
    return laid_out(figure, 90 + ROW)


CHARTS: dict[str, Callable[[Report], Drawn]] = {
    "curves": curves,
    "gates": gates,
    "landscape": landscape,
    "pairs": pairs,
    "secondary": secondary,
    "spreads": spread,
    "times": times,
}


def _configurations(report: Report) -> list[tuple[str, ConfigurationFigures, str]]:
    """Each configuration's name, figures and colour."""
    found, known = report.figures.configurations, colours(report)
    return [(name, block, known.get(name, OTHER)) for name, block in found.items()]


def _band(figure: go.Figure, curve: Sequence[Mapping[str, Any]], column: str, name: str, colour: str, row: int) -> None:
    points = [point for point in curve if point[column] is not None]
    epochs = [point["epoch"] for point in points]
    _filled(
        figure,
        epochs,
        [point[column]["low"] for point in points],
        [point[column]["high"] for point in points],
        name,
        colour,
        0.15,
        row,
    )
    figure.add_scatter(
        x=epochs,
        y=[point[column]["mean"] for point in points],
        name=name,
        legendgroup=name,
        showlegend=row == 1,
        mode="lines+markers",
        line={"color": colour},
        hovertemplate=f"{name}, epoch %{{x}}: %{{y:.5f}}<extra></extra>",
        row=row,
        col=1,
    )


def _filled(
    figure: go.Figure,
    epochs: Sequence[int],
    low: Sequence[float],
    high: Sequence[float],
    name: str,
    colour: str,
    opacity: float,
    row: int = 1,
) -> None:
    figure.add_scatter(
        x=[*epochs, *reversed(epochs)],
        y=[*high, *reversed(low)],
        fill="toself",
        fillcolor=with_opacity(colour, opacity),
        line={"width": 0},
        mode="lines",
        legendgroup=name,
        showlegend=False,
        hoverinfo="skip",
        row=row,
        col=1,
    )
