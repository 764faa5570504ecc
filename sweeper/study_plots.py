"""A study's plots in one HTML file that needs no network: plotly.js stands in it once."""

from __future__ import annotations

import html
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import optuna
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial

from data.printable import printable
from sweeper.extras import install
from sweeper.queries import QueryError, best_records, counts, importances, ranked, short_names, trials_of
from sweeper.storage import masked_text

CONTOUR_PARAMETERS = 4  # the most important ones; their plots are the square of this
EXPLAINED_BY = {
    "Learning curves": "The value by epoch. A pruned trial is dotted and ends in a cross.",
    "History": "The value by trial, in the order in which they were asked for.",
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

    Raises ``QueryError`` where plotly isn't installed or the study has no complete trial.
    """
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        raise QueryError(f"plots need plotly, which isn't installed: {install('plotly')}") from None
    if not trials_of(study, TrialState.COMPLETE):
        raise QueryError(f"study {study.study_name!r} has nothing to plot: no trial is complete")
    sections = []
    for index, (heading, draw) in enumerate(_plots(study)):
        explained = next((text for start, text in EXPLAINED_BY.items() if heading.startswith(start)), "")
        title = f"<h2>{html.escape(heading)}</h2>\n<p>{explained}</p>"
        sections.append(f"<section>\n{title}\n{_drawn(draw, f'plot-{index}')}\n</section>")
    found = ", ".join(f"{number} {state.lower()}" for state, number in counts(study).items() if number)
    return _PAGE.format(
        title=html.escape(f"Study {study.study_name}"),
        subtitle=html.escape(f"Trials: {found}"),
        plotly=get_plotlyjs(),
        summary=_summary(study),
        sections="\n".join(sections),
    )


def _summary(study: Study) -> str:
    """The best three trials, the line that runs the best again, and a warning where it lies on an edge."""
    if not ranked(study):
        return '<p class="warning">No trial meets the constraints.</p>'
    records = best_records(study, 3)
    headings = short_names(sorted({name for record in records for name in record["params"]}))
    lines = ["".join(f"<th>{html.escape(heading)}</th>" for heading in ("trial", "value", *headings.values()))]
    for record in records:
        cells = [record["number"], record["value"], *(record["params"].get(name) for name in headings)]
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
    return f"{value:.5g}" if isinstance(value, float) else printable(masked_text(str(value)))


def _plots(study: Study) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Heading and drawing of each plot; those of one objective are repeated for each."""
    from sweeper import study_figures as ours

    show = optuna.visualization
    short = _with_short_names(study)
    several = len(study.directions) > 1
    if several:
        yield "Pareto front", partial(show.plot_pareto_front, short)
    else:
        yield "Learning curves", partial(ours.learning_curves, study)
    names = study.metric_names or [f"value {index}" for index in range(len(study.directions))]
    for index, name in enumerate(names):
        options: dict[str, Any] = {"target": _value(index), "target_name": name} if several else {}
        of = f" of {name}" if several else ""
        yield f"History{of}", partial(ours.history, study, _value(index), index)
        yield f"Slices{of}", partial(ours.slices, study, _value(index))
        yield f"Parallel coordinates{of}", partial(show.plot_parallel_coordinate, short, **options)
        yield f"Contours{of}", partial(_contours, short, options)
    yield "Importances", partial(_importances, short)


def _with_short_names(study: Study) -> Study:
    """A copy in memory whose parameters go by the last part of their name, for Optuna's plots to be readable."""
    trials = trials_of(study, TrialState.COMPLETE)
    names = short_names(sorted({name for trial in trials for name in trial.params}))
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # no line about the copy
    try:
        copy = optuna.create_study(study_name=study.study_name, directions=study.directions)
    finally:
        optuna.logging.set_verbosity(verbosity)
    if study.metric_names:
        copy.set_metric_names(study.metric_names)
    for trial in trials:
        copy.add_trial(
            create_trial(
                values=trial.values,
                params={names[name]: value for name, value in trial.params.items()},
                distributions={names[name]: kind for name, kind in trial.distributions.items()},
                system_attrs=trial.system_attrs,
            )
        )
    return copy


def _importances(study: Study) -> Any:
    return optuna.visualization.plot_param_importances(study, params=list(importances(study)))


def _contours(study: Study, options: dict[str, Any]) -> Any:
    names = list(importances(study))[:CONTOUR_PARAMETERS]
    if len(names) < 2:
        raise QueryError("contours need at least two parameters that vary")
    figure = optuna.visualization.plot_contour(study, params=names, **options)
    return figure.update_layout(height=480 if len(names) == 2 else 220 * len(names))


def _value(index: int) -> Callable[[FrozenTrial], float]:
    return lambda trial: trial.values[index]


def _drawn(draw: Callable[[], Any], element: str) -> str:
    """The plot's HTML without plotly.js; where Optuna can't draw it, or it is empty, why."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            figure = draw()
        except (QueryError, ValueError, RuntimeError) as error:
            return f"<p>Not drawn: {html.escape(str(error))}</p>"
    if not figure.data:
        return "<p>Not drawn: the study holds nothing for it.</p>"
    figure.update_layout(title=None, margin={"t": 20, "l": 70, "r": 20, "b": 60}, template="plotly_white")
    figure.update_xaxes(exponentformat="e").update_yaxes(exponentformat="e")  # 1e-5 instead of 10µ
    settings = {"displaylogo": False, "responsive": True}
    return str(figure.to_html(full_html=False, include_plotlyjs=False, div_id=element, config=settings))
