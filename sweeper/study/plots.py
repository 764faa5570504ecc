"""A study's plots in one HTML file that needs no network: plotly.js stands in it once."""

from __future__ import annotations

import html
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import optuna
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from mdaf.extras import install
from mdaf.sweeper.storage.opening import masked_text
from mdaf.sweeper.study import points
from mdaf.sweeper.study.excerpt import DRAWN, MOST_CURVES, MOST_POINTS, renamed, thinned
from mdaf.sweeper.study.part import Part
from mdaf.sweeper.study.queries import (
    QueryError,
    best_records,
    counts,
    importances,
    is_race,
    ranked,
    short_names,
    trials_of,
)
from mdaf.terminal.printable import printable

CONTOUR_PARAMETERS = 4  # the most important ones; their plots are the square of this
CONTOUR_TRIALS = 80  # each plot holds a value for every two of them
MOST_TRIALS = 2000  # in the figures of all objectives together
MOST_PARAMETERS = 12
MOST_OBJECTIVES = 4
EXPLAINED_BY = {
    "Learning curves": "The value by epoch. A pruned trial is dotted and ends in a cross.",
    "History": "The value by trial, in the order in which they were asked for.",
    "Points": "The best points of the race, in the order of their posterior means: the mean of a point's runs with its "
    "standard error, and what a further run is expected to give with the standard deviation of that expectation.",
    "Slices": "The value by each parameter, all others varying. Dashed: the ends of the searched interval.",
    "Parallel coordinates": "A line a trial; drag along an axis to keep the trials that pass there.",
    "Contours": "The value between the trials, interpolated: few trials bend it at will.",
    "Importances": "PED-ANOVA: how far the best trials differ from the others in this parameter.",
}

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>
body {{ font-family: system-ui, sans-serif; margin: 1.5rem auto; max-width: 78rem; padding: 0 1rem; color: #212529; }}
h1 {{ font-size: 1.4rem; margin-bottom: 0.3rem; }}
h2 {{ margin: 2rem 0 0; font-size: 1.1rem; }}
p {{ color: #495057; margin: 0.3rem 0; }}
.warning {{ background: #fff4e6; border-left: 4px solid #e8590c; padding: 0.5rem 0.8rem; color: #212529; }}
table {{ border-collapse: collapse; margin: 0.6rem 0; font-variant-numeric: tabular-nums; }}
th, td {{ text-align: right; padding: 0.2rem 1.2rem 0.2rem 0; border-bottom: 1px solid #dee2e6; }}
code {{ display: block; overflow-x: auto; background: #f1f3f5; padding: 0.5rem 0.8rem; white-space: nowrap; }}
</style>
<script>{plotly}</script>
</head>
<body>
<h1>{title}</h1>
<p>{subtitle}</p>
{summary}
{sections}
</body>
</html>
"""


def plots_page(study: Study) -> str:
    """The page; a plot that the study has too few trials for is replaced by a sentence that says so.

    Of a large study a part is drawn, and the page says which, so that page and memory stay small. Raises ``QueryError``
    where plotly isn't installed or the study has no complete trial.
    """
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        raise QueryError(f"plots need plotly, which isn't installed: {install('plots')}") from None
    if not trials_of(study, TrialState.COMPLETE):
        raise QueryError(f"study {study.study_name!r} has nothing to plot: no trial is complete")
    part = _drawing(points.study_of_points(study) if is_race(study) else study, study)
    sections = []
    for index, (heading, draw) in enumerate(_plots(study, part)):
        explained = next((text for start, text in EXPLAINED_BY.items() if heading.startswith(start)), "")
        title = f"<h2>{html.escape(heading)}</h2>\n<p>{explained}</p>"
        sections.append(f"<section>\n{title}\n{_drawn(draw, f'plot-{index}')}\n</section>")
    found = "Trials: " + ", ".join(f"{number} {state.lower()}" for state, number in counts(study).items() if number)
    if is_race(study):
        found = f"{points.progress(study)}. {found}. A point's value is the mean of its runs."
    return _PAGE.format(
        title=html.escape(f"Study {study.study_name}"),
        subtitle="</p>\n<p>".join(html.escape(line) for line in (found, *part.left_out)),
        plotly=get_plotlyjs(),
        summary=_summary(study),
        sections="\n".join(sections),
    )


def _summary(study: Study) -> str:
    """The best three trials or points, the line that runs the best again, and a warning where it lies on an edge."""
    if not ranked(study):
        return '<p class="warning">No trial meets the constraints.</p>'
    records = best_records(study, 3)
    headings = short_names(sorted({name for record in records for name in record["params"]}))
    rows = [record["point"] or record for record in records]
    figures = points.compared(rows) if records[0]["point"] else {"number": "trial", "value": "value"}
    lines = ["".join(f"<th>{html.escape(heading)}</th>" for heading in (*figures.values(), *headings.values()))]
    for record, row in zip(records, rows, strict=True):
        cells = [*(row[name] for name in figures), *(record["params"].get(name) for name in headings)]
        lines.append("".join(f"<td>{html.escape(_cell(cell))}</td>" for cell in cells))
    warnings_of_edges = [
        f'<p class="warning">Trial {record["number"]} lies on the {edge} edge of the interval of {html.escape(name)}: '
        "better values may lie beyond it.</p>"
        for record in records[:1]
        for name, edge in record["edges"].items()
    ]
    table = "\n".join(f"<tr>{line}</tr>" for line in lines)
    command = html.escape(printable(masked_text(records[0]["command"])))
    return f"<table>\n{table}\n</table>\n{''.join(warnings_of_edges)}\n<code>{command}</code>"


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_cell, value))
    if value is None:
        return ""
    return f"{value:.5g}" if isinstance(value, float) else printable(masked_text(str(value)))


@dataclass(frozen=True)
class Drawing:
    """What of a study is drawn, and in words what is not."""

    curves: Part  # trials, in the learning curves
    trials: Part  # or points, in every other figure
    few: Part  # in contours
    names: dict[str, str]  # parameter -> heading, the most important first
    matter: dict[str, float] | str  # parameter -> importance, or why there is none
    objectives: list[str]
    left_out: list[str]


def _drawing(study: Study, runs: Study) -> Drawing:
    """What to draw of ``study``, which holds trials or points, and of its ``runs``, which are trials."""
    objectives = study.metric_names or [f"value {index}" for index in range(len(study.directions))]
    shown = objectives[:MOST_OBJECTIVES]
    trials = thinned(study, MOST_TRIALS // len(shown))
    curves = trials if study is runs else thinned(runs, MOST_CURVES)
    few = thinned(trials, CONTOUR_TRIALS)
    try:
        matter: dict[str, float] | str = importances(study) if len(objectives) == 1 else importances(trials)
    except QueryError as error:
        matter = str(error)
    every = sorted({name for trial in trials.get_trials(deepcopy=False) for name in trial.params})
    if isinstance(matter, dict):
        every.sort(key=lambda name: -matter.get(name, 0.0))
    left_out = []
    drawn, found = len(trials.get_trials(deepcopy=False)), len(trials_of(study, *DRAWN))
    if drawn < found:
        left_out.append(
            f"Drawn are {drawn:,} of {found:,} {'trials' if study is runs else 'points'}: known points, those that "
            "improved the best value, the best ones, and others evenly from the first to the last. Learning curves are "
            f"{MOST_CURVES} {'of them' if study is runs else 'runs'}, contours {CONTOUR_TRIALS}; the table, the best "
            "value and the importances are of all."
        )
    if len(every) > MOST_PARAMETERS:
        left_out.append(f"Drawn are the {MOST_PARAMETERS} most important of {len(every)} parameters.")
    if len(objectives) > len(shown):
        left_out.append(f"Drawn are the first {len(shown)} of {len(objectives)} objectives.")
    return Drawing(curves, trials, few, short_names(every[:MOST_PARAMETERS]), matter, shown, left_out)


def _plots(study: Study, part: Drawing) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Heading and drawing of each plot; those of one objective are repeated for each."""
    from mdaf.sweeper.study import figures as ours

    show = optuna.visualization
    short, few = renamed(part.trials, part.names), renamed(part.few, part.names)
    several = len(study.directions) > 1
    if several:
        if len(study.directions) <= 3:  # more have no picture
            yield "Pareto front", partial(show.plot_pareto_front, short)
    else:
        yield "Learning curves", partial(ours.learning_curves, part.curves)
    for index, name in enumerate(part.objectives):
        options: dict[str, Any] = {"target": _value(index), "target_name": name} if several else {}
        of = f" of {name}" if several else ""
        if part.trials.points:
            yield "Points", partial(ours.points, part.trials.points[:MOST_POINTS])
        else:
            yield f"History{of}", partial(ours.history, part.trials, _value(index), index)
        yield f"Slices{of}", partial(ours.slices, part.trials, _value(index), list(part.names))
        yield f"Parallel coordinates{of}", partial(show.plot_parallel_coordinate, short, **options)
        yield f"Contours{of}", partial(_contours, few, part, options)
    yield "Importances", partial(_importances, part)


def _importances(part: Drawing) -> Any:
    from mdaf.sweeper.study import figures as ours

    if isinstance(part.matter, str):
        raise QueryError(part.matter)
    headings = short_names(list(part.matter))
    return ours.bars({headings[name]: value for name, value in list(part.matter.items())[:MOST_PARAMETERS]})


def _contours(few: Study, part: Drawing, options: dict[str, Any]) -> Any:
    if isinstance(part.matter, str):
        raise QueryError(part.matter)
    names = [part.names[name] for name in part.matter if name in part.names][:CONTOUR_PARAMETERS]
    if len(names) < 2:
        raise QueryError("contours need at least two parameters that vary")
    figure = optuna.visualization.plot_contour(few, params=names, **options)
    return figure.update_layout(height=480 if len(names) == 2 else 220 * len(names))


def _value(index: int) -> Callable[[FrozenTrial], float]:
    return lambda trial: trial.values[index]


def _drawn(draw: Callable[[], Any], element: str) -> str:
    """The plot's HTML without plotly.js; where Optuna can't draw it, or it is empty, why."""
    said_anyway = optuna.logging.get_verbosity()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        optuna.logging.set_verbosity(optuna.logging.ERROR)  # it warns of each parameter that has one value, six times
        try:
            figure = draw()
        except (QueryError, ValueError, RuntimeError, TypeError) as error:
            return f"<p>Not drawn: {html.escape(str(error))}</p>"
        finally:
            optuna.logging.set_verbosity(said_anyway)
    if not figure.data:
        return "<p>Not drawn: the study holds nothing for it.</p>"
    figure.update_layout(title=None, margin={"t": 20, "l": 70, "r": 20, "b": 60}, template="plotly_white")
    figure.update_xaxes(exponentformat="e").update_yaxes(exponentformat="e")  # 1e-5 instead of 10µ
    settings = {"displaylogo": False, "responsive": True}
    return str(figure.to_html(full_html=False, include_plotlyjs=False, div_id=element, config=settings))
