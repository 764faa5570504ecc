"""What mdaf-study says of a race: points, and with ``--runs`` single runs."""

from __future__ import annotations

import csv
import io
import json
import logging
import math
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import polars as pl
import pytest
from omegaconf import OmegaConf
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.study import Study
from optuna.trial import TrialState, create_trial
from typer.testing import CliRunner, Result

from mdaf.sweeper.search.telling.results_file import write_results
from mdaf.sweeper.storage.opening import open_storage
from mdaf.sweeper.study.cli import app
from mdaf.sweeper.study.pictures import plots
from mdaf.sweeper.study.points import study_of_points
from mdaf.sweeper.study.summaries import importances
from mdaf.sweeper.study.winners import raced_points
from mdaf.sweeper.trials.points.same_point import point_id
from mdaf.sweeper.trials.user_attrs import POINT, POINT_ID, RACE_RUNS, SEED
from tests.sweeper.study.commands.test_widths import BROKEN, asked, on_a_terminal, view_of
from tests.sweeper.tiny import ROOT

SPACE: dict[str, BaseDistribution] = {
    "regularization.dropout": FloatDistribution(0, 1),
    "regularization.weight_decay": FloatDistribution(1e-5, 1e-3, log=True),
}
STABLE = [  # documented in docs/how-to/ask-a-study.md
    *("id", "name", "runs", "mean", "standard_error", "posterior_mean", "posterior_sd", "feasible", "diverged"),
    *("params.regularization.dropout", "params.regularization.weight_decay", "seeds", "values", "trials"),
    *("complete", "pruned", "fail", "running", "waiting"),
]

Ask = Callable[..., Result]


def run(study: Study, dropout: float, seed: int, value: float | None, name: str | None = None, **more: Any) -> None:
    """A run of a race: complete with a value, else of the given ``state``."""
    params = {"regularization.dropout": dropout, "regularization.weight_decay": 1e-4 * (1 + dropout)}
    attributes: dict[str, Any] = {SEED: seed, POINT_ID: point_id(params), "overrides": [f"seed={seed}"]}
    attributes["run_dir"] = f"runs/studies/raced/{len(study.get_trials(deepcopy=False))}"
    study.add_trial(
        create_trial(
            state=more.get("state", TrialState.COMPLETE),
            value=value,
            params=params,
            distributions=SPACE,
            user_attrs=attributes | ({POINT: name} if name else {}),
            intermediate_values={1: 0.6, 2: 0.65},
            constraints=more.get("constraints"),
        )
    )


def raced(storage: Any) -> Study:
    """A race: balanced on four seeds, a lucky run elsewhere, bad points, a run that failed and one that goes on."""
    study = optuna.create_study(study_name="raced", storage=storage, direction="maximize")
    study.set_user_attr(RACE_RUNS, 20)
    for seed, value in enumerate((0.690, 0.710, 0.700, 0.704)):
        run(study, 0.3, seed, value, "balanced")
    others = ((0.1, 0.60), (0.5, 0.61), (0.7, 0.5), (0.8, 0.52), (0.95, 0.715), (0.9, 0.48), (1.0, 0.5))
    for dropout, value in others:
        run(study, dropout, 0, value)
    run(study, 0.3, 4, None, "balanced", state=TrialState.RUNNING)
    run(study, 0.6, 0, None, state=TrialState.FAIL)
    return study


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The study ``raced``, and an older one that is no race."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    address = f"sqlite:///{tmp_path_factory.mktemp('studies')}/s.db"
    storage = open_storage(address, create=True)
    plain = optuna.create_study(study_name="plain", storage=storage)
    plain.add_trial(create_trial(value=1.0, params={"x": 0.5}, distributions={"x": FloatDistribution(0, 1)}))
    raced(storage)
    return address


@pytest.fixture
def ask(url: str) -> Ask:
    def asked(line: str, study: str | None = "raced") -> Result:
        words = shlex.split(line)
        of = [] if study is None else ["--study", study]
        answer = CliRunner().invoke(app, [words[0], "--storage", url, *of, *words[1:]])
        assert answer.exit_code in (0, 2), answer.output
        return answer

    return asked


def rows(answer: Result) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(answer.stdout)
    return found


# ---- trials


def test_trials_of_a_race_are_points_the_best_first_under_stable_names(ask: Ask) -> None:
    best, *others = rows(ask("trials --format json"))
    assert list(best) == STABLE
    assert (best["name"], best["runs"], best["seeds"], best["trials"]) == ("balanced", 4, [0, 1, 2, 3], [0, 1, 2, 3])
    assert best["values"] == [0.690, 0.710, 0.700, 0.704]
    assert best["mean"] == pytest.approx(0.701)
    assert best["standard_error"] == pytest.approx(math.sqrt((0.011**2 + 0.009**2 + 0.001**2 + 0.003**2) / 3 / 4))
    assert [best[state] for state in STABLE[-5:]] == [4, 0, 0, 1, 0]
    lucky = next(row for row in others if row["mean"] == 0.715)
    assert lucky["standard_error"] is None
    assert lucky["posterior_mean"] < best["posterior_mean"]
    expected = [row["posterior_mean"] for row in others if row["posterior_mean"] is not None]
    assert expected == sorted(expected, reverse=True)
    assert (others[-1]["fail"], others[-1]["mean"], others[-1]["trials"]) == (1, None, [])


def test_with_runs_trials_are_single_runs_as_in_a_study_that_is_no_race(ask: Ask) -> None:
    single = rows(ask("trials --runs --format json"))
    assert [row["number"] for row in single] == list(range(13))
    assert (single[2]["value"], single[2]["seed"], single[2]["point"]) == (0.7, 2, "balanced")
    assert ask("trials --runs").stdout.split()[:4] == ["trial", "state", "value", "dropout"]
    assert "seed" in ask("trials --runs").stdout.splitlines()[0].split()


@pytest.mark.parametrize("command", ["trials", "best", "importance"])
def test_a_study_that_is_no_race_is_answered_the_same_with_and_without_runs(ask: Ask, command: str) -> None:
    with_runs, without = ask(f"{command} --runs", "plain"), ask(command, "plain")
    assert (with_runs.exit_code, with_runs.output) == (without.exit_code, without.output)
    assert "expected" not in with_runs.stdout.partition("\n")[0]


def test_points_are_filtered_sorted_and_limited_by_their_own_columns(ask: Ask) -> None:
    def dropouts(options: str) -> list[float]:
        return [row["params.regularization.dropout"] for row in rows(ask(f"trials --format json {options}"))]

    assert dropouts("--where runs>=2") == dropouts("--where point==balanced") == [0.3]
    assert dropouts("--where 'expected>0 and dropout>0.6' --sort -mean --limit 2") == [0.95, 0.8]
    assert dropouts("--state fail --state running") == [0.3, 0.6]


def test_a_column_of_single_runs_is_refused_with_the_option_that_has_it(ask: Ask) -> None:
    answer = ask("trials --where state==COMPLETE")
    assert (answer.exit_code, answer.stdout) == (2, "")
    assert "there is no column 'state'" in answer.stderr
    assert answer.stderr.endswith("--runs has those of single runs\n")


def test_points_are_written_as_csv_and_parquet_with_the_types_of_their_columns(ask: Ask, tmp_path: Path) -> None:
    table = list(csv.DictReader(io.StringIO(ask("trials --format csv").stdout)))
    assert list(table[0]) == STABLE
    assert json.loads(table[0]["seeds"]) == [0, 1, 2, 3]
    assert ask(f"trials --format parquet --output {tmp_path}/t.parquet").exit_code == 0
    frame = pl.read_parquet(tmp_path / "t.parquet")
    assert frame.columns == STABLE
    assert [frame.schema[name] for name in ("runs", "standard_error", "feasible")] == [pl.Int64, pl.Float64, pl.Boolean]


# ---- best, list, importance


def test_best_gives_a_points_mean_error_seeds_and_posterior_mean_and_with_runs_the_best_run(ask: Ask) -> None:
    [record] = rows(ask("best --format json"))
    point = record["point"]
    assert (record["number"], point["name"], point["seeds"]) == (0, "balanced", [0, 1, 2, 3])
    assert point["mean"] == pytest.approx(0.701)
    head, first = (line.split() for line in ask("best").stdout.splitlines()[:2])
    assert head[:5] == ["point", "runs", "mean", "error", "expected"]
    assert first[:3] == ["balanced", "4", "0.701"]
    [single] = rows(ask("best --runs --format json"))
    assert (single["number"], single["value"], single["point"]) == (8, 0.715, None)
    assert ask("best --runs").stdout.split()[:2] == ["trial", "value"]
    assert len(rows(ask("best --top 50 --format json"))) == 8  # points, each once


def test_a_point_that_breaks_a_constraint_on_one_seed_is_not_the_best_by_its_other_seeds() -> None:
    study = optuna.create_study(direction="maximize")
    run(study, 0.2, 0, 0.9)
    run(study, 0.2, 1, 0.9, constraints={"gap": 0.1})
    run(study, 0.4, 0, 0.5)
    assert [point.feasible for point in raced_points(study)] == [True, False]
    from mdaf.sweeper.study.winners import best_records

    assert [record["number"] for record in best_records(study, 5)] == [2]


def test_list_says_points_and_runs_and_the_best_point(ask: Ask) -> None:
    plain, found = rows(ask("list --format json", None))
    assert (plain["points"], plain["best_point"]) == (None, None)
    assert (found["points"], found["trials"], found["complete"]) == (9, 13, 11)
    assert found["best_point"]["mean"] == pytest.approx(0.701)
    lines = [line.split() for line in ask("list", None).stdout.splitlines()]
    assert {"points", "best_point", "best_runs", "best_mean", "best_error", "best_expected", "best_value"} <= set(
        lines[0]
    )
    assert "0.701" in lines[2]
    assert rows(ask("list --runs --format json", None))[1]["best_value"] == 0.715


def test_importances_of_a_race_are_those_of_its_points_means(ask: Ask, url: str) -> None:
    study = optuna.load_study(study_name="raced", storage=open_storage(url, create=False))
    means = study_of_points(study)
    assert next((trial.number, trial.values) for trial in means.get_trials()) == (0, [pytest.approx(0.701)])
    assert len(means.get_trials()) == 8
    assert rows(ask("importance --format json")) == importances(means)
    assert rows(ask("importance --runs --format json")) != importances(means)


# ---- plot, watch, export


def headings(page: str) -> list[str]:
    return re.findall(r'<th scope="col"[^>]*>([^<]*)</th>', page)


def test_the_page_draws_points_with_their_errors_and_single_runs_if_asked(ask: Ask, tmp_path: Path) -> None:
    pytest.importorskip("plotly")
    assert ask(f"plot --output {tmp_path}/points.html").exit_code == 0
    visible = (tmp_path / "points.html").read_text().partition("<body>")[2]
    assert ">Points</h2>" in visible
    assert ">History</h2>" not in visible
    assert "9 points, 11 of 20 runs" in visible
    assert headings(visible)[:5] == ["point", "runs", "mean", "error", "expected"]
    assert '<th scope="row">balanced</th><td class="number">4</td><td class="number">0.701</td>' in visible
    assert '"error_y"' in visible
    assert ask(f"plot --runs --output {tmp_path}/runs.html").exit_code == 0
    single = (tmp_path / "runs.html").read_text().partition("<body>")[2]
    assert ">History</h2>" in single
    assert '<th scope="row">8</th><td class="number">0.715</td>' in single


def test_points_are_drawn_with_the_mean_its_error_and_what_is_expected() -> None:
    pytest.importorskip("plotly")
    from mdaf.sweeper.study.pictures import figures

    found = raced_points(raced(None))
    means, expected = figures.points(found).data
    assert list(means.y) == [point.mean for point in found]
    assert means.error_y.array[0] == pytest.approx(found[0].standard_error)
    assert list(expected.y) == [point.posterior_mean for point in found]
    assert list(expected.error_y.array) == pytest.approx([point.posterior_sd for point in found])
    marks = {trace.name for trace in figures.slices(study_of_points(raced(None))).data}
    assert marks == {"balanced, best point", "other points"}


def test_of_many_points_the_page_draws_a_bounded_number(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("plotly")
    study = raced(None)
    for name, most in (("MOST_TRIALS", 5), ("CONTOUR_TRIALS", 4), ("MOST_POINTS", 3)):
        monkeypatch.setattr(plots, name, most)
    part = plots._drawing(study_of_points(study), study)
    assert len(part.trials.get_trials()) == 5
    assert "Drawn are 5 of 8 points" in part.left_out[0]
    [points_of_it] = [draw() for heading, draw in plots._plots(study, part) if heading == "Points"]
    assert len(points_of_it.data[0].x) == 3


def test_watch_says_points_runs_of_the_total_and_the_best_point(ask: Ask) -> None:
    head, columns, *lines = ask("watch").stdout.splitlines()
    assert head.startswith("raced: 9 points, 11 of 20 runs, 1 failed, 1 running; best: point balanced, ")
    assert "mean 0.7010 ± 0.0042, a further run is expected to give 0." in head
    assert columns.split()[:4] == ["trial", "point", "seed", "state"]
    assert lines[0].split()[:4] == ["11", "balanced", "4", "RUNNING"]
    assert "best: trial 8 with 0.715" in ask("watch --runs").stdout


def test_export_writes_points_and_with_runs_every_trial_in_every_format(ask: Ask, tmp_path: Path) -> None:
    for suffix in ("json", "csv", "parquet"):
        assert "--runs writes single runs" in ask(f"export --output {tmp_path}/points.{suffix}").stderr
        assert ask(f"export --runs --output {tmp_path}/runs.{suffix}").stderr == ""
    points, single = (json.loads((tmp_path / f"{what}.json").read_text()) for what in ("points", "runs"))
    assert len(points["points"]) == 9
    assert points["points"][0]["params"]["regularization.dropout"] == 0.3
    assert points["points"][0]["states"]["running"] == 1
    assert points["best_point"]["name"] == "balanced"
    assert "trials" not in points
    assert len(single["trials"]) == 13
    assert len(list(csv.DictReader((tmp_path / "points.csv").open()))) == 9
    assert len(list(csv.DictReader((tmp_path / "runs.csv").open()))) == 13
    assert pl.read_parquet(tmp_path / "points.parquet").height == 9
    assert pl.read_parquet(tmp_path / "runs.parquet").height == 13


# ---- all of them


@pytest.mark.parametrize("command", ["show", "show 0", "compare 0 1", "verify", "reap", "retry"])
def test_commands_about_single_trials_answer_in_a_race_too(ask: Ask, command: str) -> None:
    assert ask(command).exit_code == 0


@pytest.mark.parametrize("columns", [60, 80, 120])
@pytest.mark.parametrize("words", [["list"], ["trials"], ["best", "--top", "3"], ["importance"]], ids=lambda w: w[0])
def test_every_answer_about_points_can_be_read_at_every_width(
    url: str, words: list[str], columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = [] if words[0] == "list" else ["--study", "raced"]
    text = on_a_terminal(asked(url, *words, *named), columns, monkeypatch)
    lines = [line for line in text.splitlines() if not line.startswith(("python -m", "not shown", "warning"))]
    assert max(map(len, lines)) <= columns
    assert not BROKEN.search("\n".join(lines))
    assert "…" not in text
    if words[0] == "list":
        assert all(name in text.partition("not shown")[0] for name in ("best_mean", "best_error", "best_runs"))
    if words[0] in ("trials", "best"):
        heading = next(line for line in lines if "expected" in line)
        assert heading.split()[:5] == ["point", "runs", "mean", "error", "expected"]


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_the_view_of_a_race_fits_its_terminal(url: str, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    study = optuna.load_study(study_name="raced", storage=open_storage(url, create=False))
    from rich.console import Console

    text = on_a_terminal(lambda: Console().print(view_of(study, 5, columns)), columns, monkeypatch)
    assert max(map(len, text.splitlines())) <= columns
    assert "a further run" in " ".join(text.split())


def test_points_are_told_without_scipy_and_torch(url: str) -> None:
    code = "import sys; sys.modules['scipy'] = sys.modules['torch'] = None\n"
    code += "from mdaf.sweeper.study.cli import app\n"
    code += "for words in (['list'], ['best', '--study', 'raced'], ['trials', '--study', 'raced']):\n"
    code += f"    app([words[0], '--storage', {url!r}, *words[1:]], standalone_mode=False)\n"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert said.count("0.701") == 3


def test_the_end_of_a_race_names_its_best_point_with_seeds_mean_and_posterior_mean(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        write_results(raced(None), tmp_path, None, None)
    assert "best: point balanced, seeds 0, 1, 2, 3 (trials 0, 1, 2, 3), mean 0.7010 ± 0.0042, a further" in caplog.text
    found = OmegaConf.load(tmp_path / "optimization_results.yaml").best_point
    assert (found.name, list(found.seeds), list(found.trials)) == ("balanced", [0, 1, 2, 3], [0, 1, 2, 3])
    assert found.posterior_mean < found.mean == pytest.approx(0.701)
