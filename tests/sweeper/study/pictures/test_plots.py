"""The page of plots: what it marks, and that a browser opens it without a word on its console."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.study import Study
from optuna.trial import TrialState, create_trial

pytest.importorskip("plotly")

from mdaf.sweeper.study.pictures import plots
from mdaf.sweeper.study.pictures.excerpt import thinned
from mdaf.sweeper.study.pictures.figures import _bars_of, history, learning_curves, log_ticks, slices
from mdaf.sweeper.study.pictures.plots import _parallel, plots_page
from tests.sweeper.tiny import ROOT

SPACE: dict[str, BaseDistribution] = {
    "regularization.dropout": FloatDistribution(0.15, 0.35),
    "regularization.weight_decay": FloatDistribution(1e-5, 1e-4, log=True),
    "model": CategoricalDistribution(["mdaf_mamba", "mdaf_bst"]),
}
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture
def study() -> Study:
    """The three known points, the best trial on an edge (5), a pruned trial (3) and two others."""
    study = optuna.create_study(study_name="<b>swept</b>", direction="maximize")
    points = [
        (0.20, 1e-5, "weak", 0.583),
        (0.25, 3e-5, "balanced", 0.581),
        (0.30, 5e-5, "strong", 0.570),
        (0.28, 2e-5, None, None),
        (0.22, 4e-5, None, 0.582),
        (0.35, 9e-5, None, 0.590),
        (0.17, 6e-5, None, 0.575),
    ]
    for number, (dropout, decay, point, value) in enumerate(points):
        attributes = {"point": point} if point else {}
        study.add_trial(
            create_trial(
                state=TrialState.PRUNED if value is None else TrialState.COMPLETE,
                value=value,
                params=dict(zip(SPACE, (dropout, decay, ["mdaf_mamba", "mdaf_bst"][number % 2]), strict=True)),
                distributions=SPACE,
                user_attrs=attributes,
                intermediate_values={1: 0.55} if value is None else {1: 0.55, 2: value - 0.001, 3: value},
            )
        )
    return study


def named(figure: object) -> set[str]:
    return {trace.name for trace in figure.data}  # type: ignore[attr-defined]


def test_the_known_points_and_the_best_trial_are_named_in_every_figure(study: Study) -> None:
    marked = {"weak", "balanced", "strong", "best: trial 5", "other trials"}
    for figure in (learning_curves(study), history(study), slices(study)):
        assert marked <= named(figure)


def test_a_known_point_that_is_the_best_is_both(study: Study) -> None:
    best = {"params": study.best_params, "distributions": SPACE, "user_attrs": {"point": "strong"}}
    study.add_trial(create_trial(value=0.6, **best))
    assert "strong, best: trial 7" in named(history(study))


def test_a_learning_curve_of_a_pruned_trial_ends_where_it_was_pruned(study: Study) -> None:
    curves = {len(trace.x): trace for trace in learning_curves(study).data}
    assert curves[1].line.dash == "dot"
    assert list(curves[3].x) == [1, 2, 3]


def test_the_best_so_far_leaves_out_what_violates_a_constraint(study: Study) -> None:
    trial = study.ask(SPACE)
    trial.set_constraint("gap", 0.1)
    study.tell(trial, 0.7)
    [best_so_far] = [trace for trace in history(study).data if trace.name == "best so far"]
    assert list(best_so_far.y) == [0.583, 0.583, 0.583, 0.583, 0.590, 0.590]


def test_a_slice_shows_the_ends_of_the_interval_and_the_one_that_the_best_lies_on(study: Study) -> None:
    figure = slices(study)
    ends = sorted(shape.x0 for shape in figure.layout.shapes)
    assert ends == pytest.approx([1e-5, 1e-4, 0.15, 0.35])
    assert [shape.x0 for shape in figure.layout.shapes if shape.line.width == 2] == [0.35]
    titles = {axis.title.text for axis in figure.select_xaxes()}
    assert titles == {"model", "dropout<br>the best is on the high edge", "weight_decay"}


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (1e-5, 1e-4, [1e-5, 2e-5, 5e-5, 1e-4]),
        (1e-5, 3e-3, [1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3]),
        (1e-9, 1, [1e-9, 1e-7, 1e-5, 1e-3, 1e-1]),
        (3.1e-4, 4.9e-4, [3.1e-4, 4.9e-4]),
    ],
)
def test_a_logarithmic_axis_has_a_few_numbers_that_stand_apart(low: float, high: float, ticks: list[float]) -> None:
    assert log_ticks(low, high) == pytest.approx(ticks)


def test_plots_beside_each_other_are_scrolled_on_a_phone_in_place_of_being_crushed(study: Study) -> None:
    page = plots_page(study)
    wide = re.findall(r'<div class="scroll wide" tabindex="0" role="group" aria-label="Chart: (.*?)">', page)
    assert wide == ["Slices", "Contours"]


@pytest.mark.parametrize(("direction", "best"), [("maximize", 0.9), ("minimize", 0.1)])
def test_the_best_lines_of_parallel_coordinates_have_the_colour_of_the_best(direction: str, best: float) -> None:
    study = optuna.create_study(direction=direction)
    for value in (0.1, 0.5, 0.9):
        study.add_trial(create_trial(value=value, params={"x": value}, distributions={"x": FloatDistribution(0, 1)}))
    lines = [line for line in _parallel(study, {}).data if line.mode == "lines"]
    colours = {line.customdata[0][1]: line.line.color for line in lines}
    assert colours[f"{best:g}"] == "rgb(213, 94, 0)"  # BEST
    assert len({*colours.values()}) == 3


def test_a_point_of_one_run_has_no_error_bar() -> None:
    assert _bars_of([None, None]) is None
    assert _bars_of([None, 0.1]) == {"type": "data", "array": [0.0, 0.1], "thickness": 1.5}


def test_the_page_says_what_won_and_warns_of_the_edge(study: Study) -> None:
    page = plots_page(study)
    visible = page.partition("<body>")[2]
    assert "Trial 5 lies on the high edge of the interval of regularization.dropout" in visible
    assert "python -m sweeper regularization.dropout=0.35" in visible
    assert re.search(r'<th scope="row">5</th><td class="number">0.59</td>', visible)
    assert "<b>swept</b>" not in page  # a study's name is text


def test_several_objectives_are_drawn_each_and_the_front_is_marked() -> None:
    study = optuna.create_study(directions=["maximize", "minimize"])
    for auc, seconds in ((0.58, 30.0), (0.59, 40.0), (0.57, 50.0)):
        trial = study.ask({"x": FloatDistribution(0, 1), "y": FloatDistribution(0, 1)})
        study.tell(trial, [auc, seconds])
    study.set_metric_names(["val_auc", "seconds"])
    visible = plots_page(study).partition("<body>")[2]
    assert re.findall(r"<h2 id=\"plot-\d+-title\">(.*?)</h2>", visible) == [
        "Pareto front",
        *(f"{plot} of {name}" for name in ("val_auc", "seconds") for plot in PLOTS_OF_EACH),
        "Importances",
    ]
    assert "Not drawn" not in visible.partition("Importances")[0]
    assert "Pareto front" in named(history(study, lambda trial: trial.values[1], 1))


PLOTS_OF_EACH = ("History", "Slices", "Parallel coordinates", "Contours")


# ---- in a browser


def console_and_document(page: Path) -> tuple[list[str], str]:
    """What a headless Chromium without a network says on its console, and the document that its scripts leave."""
    if BROWSER is None:
        pytest.skip("no Chromium here: chromium, chromium-browser or google-chrome")
    said = subprocess.run(
        [
            BROWSER,
            *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--enable-logging=stderr"),
            *("--host-resolver-rules=MAP * ~NOTFOUND", "--window-size=1366,768", "--virtual-time-budget=20000"),
            *(f"--user-data-dir={page.parent}/profile", "--dump-dom", page.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "</html>" in said.stdout, said.stderr[-2000:]
    return re.findall(r"CONSOLE.*", said.stderr), said.stdout


def test_the_page_opens_in_chromium_without_a_word_on_the_console(study: Study, tmp_path: Path) -> None:
    page = tmp_path / "study.html"
    page.write_text(plots_page(study))
    console, document = console_and_document(page)
    assert console == []
    assert document.count('class="main-svg"') >= 6  # scripts ran and drew
    for text in ("best: trial 5", "weak", "the best is on the high edge"):
        assert text in document.partition("</head>")[2]


def test_an_error_of_a_page_would_be_seen(tmp_path: Path) -> None:
    page = tmp_path / "broken.html"
    page.write_text("<html><body><script>undefined_function()</script></body></html>")
    console, _ = console_and_document(page)
    assert "undefined_function is not defined" in " ".join(console)


def large(trials: int, parameters: int = 3) -> Study:
    """A study whose best trial is one in its midst, with trials that failed between the others."""
    study = optuna.create_study(study_name="large", direction="maximize")
    space: dict[str, BaseDistribution] = {f"p{number}": FloatDistribution(0, 1) for number in range(parameters)}
    moments = random.Random(0)
    for number in range(trials):
        value = 0.9 if number == trials // 2 else 0.5 + 0.1 * moments.random()
        fails = number % 10 == 5
        study.add_trial(
            create_trial(
                state=TrialState.FAIL if fails else TrialState.COMPLETE,
                value=None if fails else value,
                params={name: moments.random() for name in space},
                distributions=space,
                user_attrs={"traceback": "a secret " * 50, "point": "grid"},
                intermediate_values=dict.fromkeys(range(1, 4), value),
            )
        )
    return study


@pytest.mark.slow
def test_of_a_large_study_a_part_is_drawn_under_its_own_numbers_and_the_page_says_which(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    study = large(400, parameters=4)
    for name, most in (("MOST_TRIALS", 100), ("MOST_LINES", 30), ("CONTOUR_TRIALS", 20), ("MOST_PARAMETERS", 3)):
        monkeypatch.setattr(plots, name, most)
    page = plots_page(study)
    assert "Drawn are 100 of 360 trials" in page
    assert "parallel coordinates 30 and contours 20;" in page
    assert "Drawn are the 3 most important of 4 parameters" in page
    assert "a secret" not in page
    part = thinned(study, 100)
    numbers = [trial.number for trial in part.trials]
    assert len(numbers) == 100
    assert numbers == sorted(set(numbers))
    assert {0, 200} <= set(numbers)
    assert max(numbers) > 390
    assert part.best_trial.number == 200
    assert all(part.trials[place].params == study.trials[number].params for place, number in enumerate(numbers))
    [best] = [trace for trace in history(part).data if trace.name == "best so far"]
    assert max(best.y) == 0.9
    assert len(learning_curves(large(300)).data) <= 200


def test_the_pareto_front_and_the_known_points_of_a_large_study_are_all_drawn() -> None:
    study = optuna.create_study(directions=["maximize", "maximize"])
    space: dict[str, BaseDistribution] = {"x": FloatDistribution(0, 1)}
    for number in range(400):
        share = number / 400
        worse = 0.0 if number % 10 == 0 else 2.0  # every tenth one is on the front
        attributes = {"point": f"known {number}"} if number in (33, 44) else {}
        study.add_trial(
            create_trial(
                values=[share - worse, -share - worse], params={"x": share}, distributions=space, user_attrs=attributes
            )
        )
    front = set(range(0, 400, 10))
    for most in (10, 60):
        drawn = {trial.number for trial in thinned(study, most).trials}
        assert front | {33, 44} <= drawn
        assert len(drawn) == max(most, len(front) + 2)
    assert len(thinned(study, 10, strictly=True).trials) == 10


def test_a_study_that_is_not_large_is_drawn_whole(study: Study) -> None:
    assert "Drawn are" not in plots_page(study)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_page_of_twenty_thousand_trials_and_its_memory_are_bounded(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    name = "large"
    memory = large(20_000)
    optuna.copy_study(from_study_name=name, from_storage=memory._storage, to_storage=url)
    code = "import resource, sys; from mdaf.sweeper.study.cli import app; app(standalone_mode=False)\n"
    code += "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    typed = [sys.executable, "-c", code, "plot", "--storage", url, "--output", str(tmp_path / "page.html")]
    said = subprocess.run(typed, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert int(said.splitlines()[-1]) < 1_000_000  # kilobytes
    assert (tmp_path / "page.html").stat().st_size < 20_000_000
