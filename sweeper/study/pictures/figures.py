"""Figures of a study that Optuna doesn't draw so: with the known points, the best trial and the intervals' ends marked.

A trial is known by its user attribute ``point``: weak, balanced, strong. With several objectives the best trials are
those of the Pareto front.
"""

from __future__ import annotations

import html
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState
from plotly.subplots import make_subplots

from mdaf.pages.palette import BEST, FREE, OTHER, colours_of
from mdaf.sweeper.storage.late_reads import attribute
from mdaf.sweeper.study.consistency import names_of_values
from mdaf.sweeper.study.pictures.excerpt import MOST_CURVES, MOST_EPOCHS, evenly, thinned
from mdaf.sweeper.study.points import listed
from mdaf.sweeper.study.queries import QueryError, short_names, trials_of
from mdaf.sweeper.study.winners import edges, raced_points, ranked
from mdaf.sweeper.trials.feasibility import is_feasible
from mdaf.sweeper.trials.user_attrs import POINT

if TYPE_CHECKING:
    from mdaf.sweeper.racing.points import Point

Value = Callable[[FrozenTrial], float]

EDGE = FREE[-1]  # the end of an interval on which the best lies
COLUMNS = 3  # of the slices
MOST_LOG_TICKS = 6
MOST_TICKS = 20  # ranks that are written below the points of a race, beside those of known points


def first_value(trial: FrozenTrial) -> float:
    """The only objective's value."""
    return float(trial.values[0])


def learning_curves(study: Study) -> go.Figure:
    """The value by epoch. Each line is one trial: known points and the best in colour; a cross ends a pruned trial."""
    figure = go.Figure()
    marks = _marks(study)
    trials = [trial for trial in trials_of(thinned(study, MOST_CURVES)) if trial.intermediate_values]
    if not trials:
        raise QueryError("no trial reported a value of an epoch")
    named: set[str] = set()
    for trial in sorted(trials, key=lambda one: one.number in marks):  # what is marked lies on top
        epochs = evenly(sorted(trial.intermediate_values), MOST_EPOCHS)
        name, colour = marks.get(trial.number, ("other trials", OTHER))
        ends_early = trial.state is TrialState.PRUNED
        figure.add_scatter(
            x=epochs,
            y=[trial.intermediate_values[epoch] for epoch in epochs],
            name=name,
            legendgroup=name,
            showlegend=name not in named,
            mode="lines+markers",
            line={
                "color": colour,
                "width": 3 if trial.number in marks else 1,
                "dash": "dot" if ends_early else "solid",
            },
            marker={
                "size": [0] * (len(epochs) - 1) + [9 if ends_early else 6],
                "symbol": "x" if ends_early else "circle",
            },
            opacity=1 if trial.number in marks else 0.5,
            hovertemplate=f"trial {trial.number}, epoch %{{x}}: %{{y:.5f}}<extra>{trial.state.name.lower()}</extra>",
        )
        named.add(name)
    figure.update_xaxes(title="epoch", dtick=max(1, max(max(trial.intermediate_values) for trial in trials) // 10))
    figure.update_yaxes(title=names_of_values(study)[0])
    return figure


def history(study: Study, value: Value = first_value, index: int = 0) -> go.Figure:
    """The value by trial, and the best so far of those that meet the constraints."""
    figure = go.Figure()
    completed = trials_of(study, TrialState.COMPLETE)
    _add_points(figure, study, completed, lambda trial: trial.number, value)
    pruned = [trial for trial in trials_of(study, TrialState.PRUNED) if trial.intermediate_values]
    if pruned and len(study.directions) == 1:
        figure.add_scatter(
            x=[trial.number for trial in pruned],
            y=[trial.intermediate_values[max(trial.intermediate_values)] for trial in pruned],
            name="pruned, at its last epoch",
            mode="markers",
            marker={"symbol": "x", "color": OTHER},
            hovertemplate="trial %{x}: %{y:.5f}<extra>pruned</extra>",
        )
    feasible = [trial for trial in completed if is_feasible(trial)]
    better = max if study.directions[index] == StudyDirection.MAXIMIZE else min
    best = list(itertools.accumulate((value(trial) for trial in feasible), better))
    numbers = [trial.number for trial in feasible]
    line = {"color": BEST, "width": 1.5, "shape": "hv"}
    figure.add_scatter(x=numbers, y=best, mode="lines", name="best so far", line=line, hoverinfo="skip")
    figure.update_xaxes(title="trial, in the order in which they were asked for", zeroline=False)
    figure.update_yaxes(title=names_of_values(study)[index])
    return figure


def points(best: Sequence[Point], objective: str = "value") -> go.Figure:
    """Points of a race by their rank: mean and standard error, and posterior mean and standard deviation."""
    ranks = list(range(1, len(best) + 1))
    about = [
        [
            point.name or f"trial {point.trials[0]}",
            listed(point.seeds),
            "" if point.feasible else ", breaks a constraint",
        ]
        for point in best
    ]
    means = [(point.mean, point.standard_error) for point in best]
    expected = [(point.posterior_mean, point.posterior_sd) for point in best]
    figure = go.Figure()
    for name, shift, colour, symbol, values in (
        ("mean of the runs, ± standard error", -0.1, OTHER, "circle", means),
        ("expected of a further run, ± standard deviation", 0.1, BEST, "diamond", expected),
    ):
        figure.add_scatter(
            x=[rank + shift for rank in ranks],
            y=[value for value, _ in values],
            error_y=_bars_of([error for _, error in values]),
            customdata=about,
            name=name,
            mode="markers",
            marker={"color": colour, "symbol": symbol, "size": 9},
            hovertemplate="%{y:.5f}<br>%{customdata[0]}, seeds %{customdata[1]}%{customdata[2]}<extra></extra>",
        )
    named = {rank: f"{rank}<br>{html.escape(point.name)}" for rank, point in enumerate(best, 1) if point.name}
    shown = [rank for rank in ranks if rank in named or rank in evenly(ranks, MOST_TICKS)]
    figure.update_xaxes(
        title="rank by posterior mean", tickvals=shown, ticktext=[named.get(rank, str(rank)) for rank in shown]
    )
    figure.update_yaxes(title=objective)
    return figure


def _bars_of(errors: Sequence[float | None]) -> dict[str, Any] | None:
    """Error bars, where there is an error at all: one of no length is a dash."""
    return {"type": "data", "array": [error or 0.0 for error in errors], "thickness": 1.5} if any(errors) else None


def slices(study: Study, value: Value = first_value, only: Sequence[str] | None = None, index: int = 0) -> go.Figure:
    """The value by each parameter, or by ``only`` these.

    Dashed lines are the ends of its interval, orange where the best lies on one.
    """
    completed = trials_of(study, TrialState.COMPLETE)
    names = sorted({name for trial in completed for name in trial.params if only is None or name in only})
    if not names:
        raise QueryError("no parameter was searched")
    rows = math.ceil(len(names) / COLUMNS)
    figure = make_subplots(rows, min(COLUMNS, len(names)), shared_yaxes=True, horizontal_spacing=0.03)
    headings = short_names(names)
    on_edge = {name: edge for trial in ranked(study)[:1] for name, edge in edges(trial).items()}
    for place, name in enumerate(names):
        row, column = divmod(place, COLUMNS)
        held = [trial for trial in completed if name in trial.params]
        _add_points(figure, study, held, partial(_param, name), value, (row + 1, column + 1))
        _mark_interval(figure, held[-1].distributions[name], on_edge.get(name), (row + 1, column + 1))
        title = headings[name] + (f"<br>the best is on the {on_edge[name]} edge" if name in on_edge else "")
        colour = {"color": EDGE} if name in on_edge else {}
        figure.update_xaxes(title={"text": title, "font": colour}, row=row + 1, col=column + 1)
    figure.update_yaxes(title=names_of_values(study)[index], col=1)
    figure.update_layout(height=120 + 300 * rows)
    return figure


def bars(values: Mapping[str, float]) -> go.Figure:
    """A bar for each name, the greatest on top."""
    names = list(values)[::-1]
    figure = go.Figure(go.Bar(x=[values[name] for name in names], y=names, orientation="h", marker={"color": OTHER}))
    figure.update_xaxes(title="importance, a share of 1")
    return figure


def _param(name: str, trial: FrozenTrial) -> Any:
    return trial.params[name]


def _marks(study: Study) -> dict[int, tuple[str, str]]:
    """Trial number -> name in the legend and colour, of the best trials and the known points."""
    known = [trial for trial in trials_of(study) if attribute(trial, POINT) and trial.state.is_finished()]
    names = list(dict.fromkeys(str(attribute(trial, POINT)) for trial in known))
    colours = colours_of(names)
    marks = {trial.number: (name, colours[name]) for trial in known for name in [str(attribute(trial, POINT))]}
    for trial, label in _best(study):
        name, colour = marks.get(trial.number, (label, BEST))
        marks[trial.number] = (f"{name}, {label}" if name != label else label, colour)
    return marks


def _best(study: Study) -> list[tuple[FrozenTrial, str]]:
    """The best trial, all runs of the best point, or the Pareto front; each with its name in the legend."""
    if len(study.directions) > 1:
        return [(trial, "Pareto front") for trial in ranked(study)]
    if point := next((point for point in raced_points(study) if point.feasible), None):
        completed = trials_of(study, TrialState.COMPLETE)
        return [(trial, "best point") for trial in completed if trial.number in point.trials]
    return [(trial, f"best: trial {trial.number}") for trial in ranked(study)[:1]]


def _add_points(
    figure: go.Figure,
    study: Study,
    trials: Sequence[FrozenTrial],
    where: Callable[[FrozenTrial], Any],
    value: Value,
    cell: tuple[int, int] | None = None,
) -> None:
    """A mark for each trial, or for each point of a race with its standard error; one name in the legend a kind."""
    marks, errors = _marks(study), {point.trials[0]: point.standard_error for point in raced_points(study)}
    other = "other points" if errors else "other trials"
    kinds: dict[tuple[str, str], list[FrozenTrial]] = {}
    for trial in sorted(trials, key=lambda one: one.number in marks):
        kinds.setdefault(marks.get(trial.number, (other, OTHER)), []).append(trial)
    subplot = {"row": cell[0], "col": cell[1]} if cell else {}
    for (name, colour), members in kinds.items():
        best = "best" in name or "Pareto" in name
        figure.add_scatter(
            x=[where(trial) for trial in members],
            y=[value(trial) for trial in members],
            customdata=[trial.number for trial in members],
            error_y=_bars_of([errors.get(trial.number) for trial in members]) if errors else None,
            name=name,
            legendgroup=name,
            showlegend=not any(name == drawn.name for drawn in figure.data),
            mode="markers",
            marker={
                "color": colour,
                "symbol": "star" if best else "circle" if name == other else "diamond",
                "size": 15 if best else 6 if name == other else 11,
                "opacity": 0.6 if name == other else 1,
            },
            hovertemplate="trial %{customdata}: %{y:.5f} at %{x}<extra></extra>",
            **subplot,
        )


def _mark_interval(figure: go.Figure, distribution: Any, edge: str | None, cell: tuple[int, int]) -> None:
    row, column = cell
    if isinstance(distribution, CategoricalDistribution):
        figure.update_xaxes(type="category", row=row, col=column)
        return
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = float(distribution.low), float(distribution.high)
    for end, at in (("low", low), ("high", high)):
        line = {"color": EDGE if end == edge else OTHER, "width": 2 if end == edge else 1, "dash": "dash"}
        figure.add_vline(x=at, line=line, row=row, col=column)
    if distribution.log:
        ticks = log_ticks(low, high)
        low, high = math.log10(low), math.log10(high)
        named = [f"{tick:g}" for tick in ticks]
        figure.update_xaxes(type="log", tickvals=ticks, ticktext=named, row=row, col=column)
    margin = 0.05 * (high - low) or 0.5
    figure.update_xaxes(range=[low - margin, high + margin], row=row, col=column)


def log_ticks(low: float, high: float) -> list[float]:
    """At most six numbers below a logarithmic axis: powers of ten, with 2 and 5 times them where there is room."""
    powers = [10.0**exponent for exponent in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]
    for factors in ((1, 2, 5), (1, 3), (1,)):
        found = [factor * power for power in powers for factor in factors]
        found = [tick for tick in found if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]
        if len(found) <= MOST_LOG_TICKS:
            return found or [low, high]
    return found[:: math.ceil(len(found) / MOST_LOG_TICKS)]
