"""A study's plots in one HTML file that needs no network: plotly.js stands in it once."""

from __future__ import annotations

import html
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import optuna
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from sweeper.queries import QueryError, counts, importances, trials_of

CONTOUR_PARAMETERS = 5  # the most important ones; their plots are the square of this

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>
body {{ font-family: system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #222; }}
h2 {{ margin-top: 2.5rem; font-size: 1.1rem; }}
p {{ color: #555; }}
</style>
<script>{plotly}</script>
</head>
<body>
<h1>{title}</h1>
<p>{subtitle}</p>
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
        raise QueryError("plots need plotly, which isn't installed: pip install plotly") from None
    if not trials_of(study, TrialState.COMPLETE):
        raise QueryError(f"study {study.study_name!r} has nothing to plot: no trial is complete")
    sections = []
    for index, (heading, draw) in enumerate(_plots(study)):
        sections.append(f"<section>\n<h2>{html.escape(heading)}</h2>\n{_drawn(draw, f'plot-{index}')}\n</section>")
    found = ", ".join(f"{number} {state.lower()}" for state, number in counts(study).items() if number)
    return _PAGE.format(
        title=html.escape(f"Study {study.study_name}"),
        subtitle=html.escape(f"Trials: {found}"),
        plotly=get_plotlyjs(),
        sections="\n".join(sections),
    )


def _plots(study: Study) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Heading and drawing of each plot; those of one objective are repeated for each."""
    show = optuna.visualization
    several = len(study.directions) > 1
    if several:
        yield "Pareto front", partial(show.plot_pareto_front, study)
    else:
        yield "Learning curves: the value by epoch", partial(show.plot_intermediate_values, study)
    names = study.metric_names or [f"value {index}" for index in range(len(study.directions))]
    for index, name in enumerate(names):
        options: dict[str, Any] = {"target": _value(index), "target_name": name} if several else {}
        of = f" of {name}" if several else ""
        yield f"History{of}", partial(show.plot_optimization_history, study, **options)
        yield f"Slices{of}", partial(show.plot_slice, study, **options)
        yield f"Parallel coordinates{of}", partial(show.plot_parallel_coordinate, study, **options)
        yield f"Contours{of}", partial(_contours, study, options)
    yield "Importances (PED-ANOVA)", partial(_importances, study)


def _importances(study: Study) -> Any:
    return optuna.visualization.plot_param_importances(study, params=list(importances(study)))


def _contours(study: Study, options: dict[str, Any]) -> Any:
    names = list(importances(study))[:CONTOUR_PARAMETERS]
    if len(names) < 2:
        raise QueryError("contours need at least two parameters that vary")
    return optuna.visualization.plot_contour(study, params=names, **options)


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
    figure.update_layout(title=None, margin={"t": 30})
    return str(figure.to_html(full_html=False, include_plotlyjs=False, div_id=element))
