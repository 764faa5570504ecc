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
from mdaf.pages.charts import chart, laid_out
from mdaf.pages.document import copyable, document
from mdaf.pages.palette import BASELINE, BEST, OTHER
from mdaf.sweeper.storage.opening import masked_text
from mdaf.sweeper.study import points
from mdaf.sweeper.study.consistency import names_of_values
from mdaf.sweeper.study.part import Part
from mdaf.sweeper.study.pictures.excerpt import (
    DRAWN,
    MOST_CURVES,
    MOST_LINES,
    MOST_OF_A_FRONT,
    MOST_POINTS,
    renamed,
    thinned,
)
from mdaf.sweeper.study.queries import QueryError, counts_in_words, short_names, trials_of
from mdaf.sweeper.study.summaries import importances
from mdaf.sweeper.study.winners import best_records, is_race, ranked
from mdaf.terminal.printable import printable

CONTOUR_PARAMETERS = 4  # the most important ones; their plots are the square of this
CONTOUR_TRIALS = 80  # each plot holds a value for every two of them
MOST_TRIALS = 2000  # in the figures of all objectives together
MOST_PARAMETERS = 12
MOST_OBJECTIVES = 4
HEIGHT = 420  # pixels of a chart
EXPLAINED_BY = {
    "Learning curves": "The value by epoch. A pruned trial is dotted and ends in a cross.",
    "History": "The value by trial, in the order in which they were asked for.",
    "Points": "The best points of the race, in the order of their posterior means: the mean of a point's runs with its "
    "standard error, and what a further run is expected to give with the standard deviation of that expectation.",
    "Slices": "The value by each parameter, all others varying. Dashed: the ends of the searched interval.",
    "Parallel coordinates": "Each line is one trial; its colour is its value.",
    "Contours": "The value between the trials, interpolated: few trials bend it at will.",
    "Importances": "PED-ANOVA: how far the best trials differ from the others in this parameter.",
}


def plots_page(study: Study) -> str:
    """The page; a plot that the study has too few trials for is replaced by a sentence that says so.

    Of a large study a part is drawn, and the page says which, so that page and memory stay small. Raises ``QueryError``
    where plotly isn't installed or the study has no complete trial.
    """
    try:
        import plotly.offline  # noqa: F401
    except ImportError:
        raise QueryError(f"plots need plotly, which isn't installed: {install('plots')}") from None
    if not trials_of(study, TrialState.COMPLETE):
        raise QueryError(f"study {study.study_name!r} has nothing to plot: no trial is complete")
    part = _drawing(points.study_of_points(study) if is_race(study) else study, study)
    sections = [f'<section class="verdict" aria-labelledby="best"><h2 id="best">Best</h2>\n{_summary(study)}</section>']
    plots = list(_plots(study, part))
    names = [heading for heading, _ in plots]
    items = "".join(f'<li><a href="#plot-{n}-part">{html.escape(name)}</a></li>' for n, name in enumerate(names))
    sections.append(f'<nav aria-label="Contents"><ul>{items}</ul></nav>')
    for index, (heading, draw) in enumerate(plots):
        explained = next((text for start, text in EXPLAINED_BY.items() if heading.startswith(start)), "")
        sections.append(
            f'<section id="plot-{index}-part" aria-labelledby="plot-{index}-title">\n'
            f'<h2 id="plot-{index}-title">{html.escape(heading)}</h2>\n'
            f"{_drawn(draw, f'plot-{index}', heading, explained)}\n</section>"
        )
    found = "Trials: " + ", ".join(f"{number} {state}" for state, number in counts_in_words(study).items())
    if is_race(study):
        found = f"{points.progress(study)}. {found}. A point's value is the mean of its runs."
    title = printable(f"Study {study.study_name}")
    return document(title, [found, *part.left_out], "\n".join(sections), plotly=True)


def _summary(study: Study) -> str:
    """The best three trials or points, the line that runs the best again, and a warning where it lies on an edge."""
    if not ranked(study):
        return '<p class="warning">No trial meets the constraints.</p>'
    records = best_records(study, 3)
    headings = short_names(sorted({name for record in records for name in record["params"]}))
    rows = [record["point"] or record for record in records]
    figures = points.compared(rows) if records[0]["point"] else {"number": "trial", "value": "value"}
    first_heading, *others = (*figures.values(), *headings.values())
    head = f'<th scope="col">{html.escape(first_heading)}</th>'
    head += "".join(f'<th scope="col" class="number">{html.escape(heading)}</th>' for heading in others)
    lines = []
    for record, row in zip(records, rows, strict=True):
        first, *cells = (*(row[name] for name in figures), *(record["params"].get(name) for name in headings))
        held = "".join(f'<td class="number">{html.escape(_cell(cell))}</td>' for cell in cells)
        lines.append(f'<tr><th scope="row">{html.escape(_cell(first))}</th>{held}</tr>')
    warnings_of_edges = [
        f'<p class="warning">Trial {record["number"]} lies on the {edge} edge of the interval of {html.escape(name)}: '
        "better values may lie beyond it.</p>"
        for record in records[:1]
        for name, edge in record["edges"].items()
    ]
    table = (
        '<div class="scroll" tabindex="0" role="group" aria-label="Table: the best"><table>'
        f'<caption class="hidden">The best</caption><thead><tr>{head}</tr></thead>\n<tbody>'
        + "\n".join(lines)
        + "</tbody></table></div>"
    )
    command = copyable(printable(masked_text(records[0]["command"])), "command")
    again = f'<p class="deploy">Run the best one again</p>\n{command}'
    return f"{table}\n{''.join(warnings_of_edges)}\n{again}"


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
    lines: Part  # in parallel coordinates
    few: Part  # in contours
    names: dict[str, str]  # parameter -> heading, the most important first
    matter: dict[str, float] | str  # parameter -> importance, or why there is none
    objectives: list[str]
    left_out: list[str]


def _drawing(study: Study, runs: Study) -> Drawing:
    """What to draw of ``study``, which holds trials or points, and of its ``runs``, which are trials."""
    objectives = names_of_values(study)
    shown = objectives[:MOST_OBJECTIVES]
    trials = thinned(study, MOST_TRIALS // len(shown))
    curves = trials if study is runs else thinned(runs, MOST_CURVES)
    few = thinned(trials, CONTOUR_TRIALS, strictly=True)
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
        left_out.append(_what_is_drawn(study, drawn, found, single=study is runs))
    if len(every) > MOST_PARAMETERS:
        left_out.append(f"Drawn are the {MOST_PARAMETERS} most important of {len(every)} parameters.")
    if len(objectives) > len(shown):
        left_out.append(f"Drawn are the first {len(shown)} of {len(objectives)} objectives.")
    lines = thinned(trials, MOST_LINES)
    return Drawing(curves, trials, lines, few, short_names(every[:MOST_PARAMETERS]), matter, shown, left_out)


def _what_is_drawn(study: Study, drawn: int, found: int, *, single: bool) -> str:
    """Which trials of a large study, or points of a large race, are drawn, in words."""
    best = "the best one"
    if len(study.directions) > 1:
        front = len(ranked(study))
        some = "" if front <= MOST_OF_A_FRONT else f"{MOST_OF_A_FRONT:,} of the {front:,} on "
        best = f"{some}the Pareto front"
    return (
        f"Drawn are {drawn:,} of {found:,} {'trials' if single else 'points'}: known points, {best}, many of those "
        "that improved the best value and of the best ones, and others evenly from the first to the last. Learning "
        f"curves are {MOST_CURVES} {'of them' if single else 'runs'}, parallel coordinates {MOST_LINES} and contours "
        f"{CONTOUR_TRIALS}; the table, the best value and the importances are of all."
    )


def _plots(study: Study, part: Drawing) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Heading and drawing of each plot; those of one objective are repeated for each."""
    from mdaf.sweeper.study.pictures import figures as ours

    show = optuna.visualization
    short, few, lines = (renamed(some, part.names) for some in (part.trials, part.few, part.lines))
    several = len(study.directions) > 1
    if several:
        if len(study.directions) <= 3:  # more have no picture
            yield "Pareto front", partial(show.plot_pareto_front, short)
    else:
        yield "Learning curves", partial(ours.learning_curves, part.curves)
    for index, name in enumerate(part.objectives):
        options: dict[str, Any] = {"target_name": name} | ({"target": _value(index)} if several else {})
        of = f" of {name}" if several else ""
        if part.trials.points:
            yield "Points", partial(ours.points, part.trials.points[:MOST_POINTS], part.objectives[0])
        else:
            yield f"History{of}", partial(ours.history, part.trials, _value(index), index)
        yield f"Slices{of}", partial(ours.slices, part.trials, _value(index), list(part.names), index)
        yield f"Parallel coordinates{of}", partial(_parallel, lines, options)
        yield f"Contours{of}", partial(_contours, few, part, options)
    yield "Importances", partial(_importances, part)


def _parallel(short: Study, options: dict[str, Any]) -> Any:
    """Optuna's figure, from grey over blue to the colour of the best: Optuna's darkest blue is lost on a dark page."""
    from plotly.colors import sample_colorscale

    figure = optuna.visualization.plot_parallel_coordinate(short, **options)
    scale = [OTHER, BASELINE, BEST]
    figure.update_traces(marker_colorscale=scale, selector={"mode": "markers"})
    less_is_better = any(trace.marker.reversescale for trace in figure.data)
    for line in figure.select_traces({"mode": "lines"}):
        share = line.y[0]  # the objective's axis stands first, from its least to its greatest value
        if share is not None:
            line.line.color = sample_colorscale(scale, 1 - share if less_is_better else share)[0]
    return figure


def _importances(part: Drawing) -> Any:
    from mdaf.sweeper.study.pictures import figures as ours

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


def _drawn(draw: Callable[[], Any], element: str, title: str, explained: str) -> str:
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
    height = figure.layout.height or HEIGHT
    return chart(laid_out(figure, height), element, title, explained)
