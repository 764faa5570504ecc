"""The study query, asked as a user asks it: through the command line."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
import sqlite3
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import optuna
import polars as pl
import pytest
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial
from typer.testing import CliRunner, Result

from mdaf.sweeper.storage.opening import open_storage
from mdaf.sweeper.study.cli import app
from mdaf.sweeper.study.queries import ATTRIBUTES

SPACE: dict[str, BaseDistribution] = {
    "regularization.dropout": FloatDistribution(0.15, 0.35),
    "regularization.weight_decay": FloatDistribution(1e-5, 1e-4, log=True),
    "regularization.label_smoothing": FloatDistribution(0.0, 0.1),
}
VALUES = [0.5829, 0.5814, 0.5698, 0.5901, 0.5777]  # the trials 0 to 4 of the study "balanced"
COMMANDS = ["list", "show", "best", "trials", "importance", "compare 0 1", "plot --output p.html", "export --output e"]
COMMANDS += ["watch", "reap"]

Ask = Callable[..., Result]


def _params(dropout: float, weight_decay: float, label_smoothing: float) -> dict[str, float]:
    return dict(zip(SPACE, (dropout, weight_decay, label_smoothing), strict=True))


def _trial(number: int, value: float, params: dict[str, float], hour: int = 12, **attributes: object) -> FrozenTrial:
    start = datetime(2026, 1, 2, hour, number)
    trial = create_trial(
        value=value,
        params=params,
        distributions=SPACE,
        user_attrs={
            "run_dir": f"runs/balanced/{number}",
            "seed": 42,
            "best_epoch": 2,
            "train_auc": 0.6 + number / 100,
            "versions": {"torch": "2.13.0"},
            "overrides": ["data=synthetic", "training.epochs=2", "sweep.storage=postgresql://me:hunter2@db/studies"],
            **attributes,
        },
        intermediate_values={1: value - 0.01, 2: value},
    )
    trial.datetime_start, trial.datetime_complete = start, start.replace(second=30)
    return trial


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two studies: "balanced", the most recent, of 5 complete, a failed and a running trial; "old" of one trial."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    address = f"sqlite:///{tmp_path_factory.mktemp('studies')}/studies.db"
    storage = open_storage(address, create=True)
    optuna.create_study(storage=storage, study_name="old").add_trial(_trial(0, 1.0, _params(0.2, 2e-5, 0.01), hour=9))
    study = optuna.create_study(storage=storage, study_name="balanced", direction="maximize")
    study.set_user_attr("objective", "val_auc")
    points = [(0.2, 1e-5, 0.0), (0.25, 3e-5, 0.05), (0.3, 5e-5, 0.1), (0.349, 4e-5, 0.04), (0.22, 2e-5, 0.03)]
    for number, (value, point) in enumerate(zip(VALUES, points, strict=True)):
        study.add_trial(_trial(number, value, _params(*point)))
    study.enqueue_trial(_params(0.26, 3e-5, 0.05))
    failed = study.ask(SPACE)
    trace = "Traceback (most recent call last):\n  connect('mysql://me:hunter2@db')\nValueError: [bold]NaN[/bold] loss"
    failed.set_user_attr("traceback", trace)
    study.tell(failed, state=TrialState.FAIL)
    study.ask()
    return address


@pytest.fixture
def ask(url: str) -> Ask:
    """Runs a command line against the database of ``url``."""

    def run(line: str, storage: str = url) -> Result:
        words = shlex.split(line)
        return CliRunner().invoke(app, [words[0], "--storage", storage, *words[1:]])

    return run


@pytest.fixture
def fresh(tmp_path: Path) -> Callable[..., tuple[str, Study]]:
    """Makes an empty study in a database of its own."""

    def make(**options: object) -> tuple[str, Study]:
        address = f"sqlite:///{tmp_path}/fresh.db"
        return address, optuna.create_study(storage=open_storage(address, create=True), study_name="fresh", **options)

    return make


def _error(result: Result) -> str:
    """The one line that a mistake is answered with."""
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1
    return result.stderr


# ---- which storage, which study


@pytest.mark.parametrize("command", COMMANDS)
def test_asking_a_database_that_does_not_exist_is_one_line_and_creates_nothing(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "there is no such file" in _error(ask(command, f"sqlite:///{tmp_path}/runs/studies.db"))
    assert list(tmp_path.iterdir()) == []


def test_the_default_storage_is_the_one_of_the_sweeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "sqlite:///runs/studies.db" in _error(CliRunner().invoke(app, ["list"]))


def test_the_environment_names_a_storage_and_the_option_another(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MDAF_STORAGE", "sqlite:///elsewhere.db")
    assert "elsewhere.db" in _error(CliRunner().invoke(app, ["list"]))
    assert ask("list").exit_code == 0


def test_a_sweep_that_wrote_into_another_database_than_the_environment_names_is_found(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "studies.db").touch()
    monkeypatch.setenv("MDAF_STORAGE", "sqlite:///elsewhere.db")
    assert "type --storage sqlite:///runs/studies.db" in _error(CliRunner().invoke(app, ["best"]))


@pytest.mark.parametrize("storage", ["oracel://me:hunter2@host/db", "postgresql://me:hunter2@host:port/db"])
def test_a_bad_url_is_one_line_that_hides_the_password(ask: Ask, storage: str) -> None:
    assert "me:***@host" in _error(ask("list", storage))


def test_an_unknown_study_is_answered_with_those_that_there_are(ask: Ask) -> None:
    assert "no study 'stronk'; there is: balanced, old" in _error(ask("show --study stronk"))
    assert "; did you mean balanced?" in _error(ask("show --study balansed"))


def test_without_a_name_the_most_recently_active_study_is_taken_and_said_so(ask: Ask) -> None:
    answer = ask("show --format json")
    assert json.loads(answer.stdout)["study"] == "balanced"
    assert answer.stderr.startswith("study balanced: the most recently active of 2")
    assert json.loads(ask("show --format json --study old").stdout)["study"] == "old"


def test_the_only_study_is_taken_without_a_word(ask: Ask, fresh: Callable[..., tuple[str, Study]]) -> None:
    address, _ = fresh()
    answer = ask("show --format json", address)
    assert (json.loads(answer.stdout)["study"], answer.stderr) == ("fresh", "")


def test_a_storage_without_a_study_says_so(ask: Ask, tmp_path: Path) -> None:
    open_storage(f"sqlite:///{tmp_path}/empty.db", create=True)
    assert "holds no study" in _error(ask("best", f"sqlite:///{tmp_path}/empty.db"))


def test_no_answer_changes_the_database(ask: Ask, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dump() -> list[str]:
        with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
            return list(connection.iterdump())

    monkeypatch.chdir(tmp_path)
    before = dump()
    for command in COMMANDS:
        ask(command)
    assert dump() == before


# ---- list and show


def test_list_counts_trials_by_state_and_gives_the_best_of_each_study(ask: Ask) -> None:
    balanced, old = json.loads(ask("list --format json").stdout)
    assert (balanced["study"], old["study"]) == ("balanced", "old")
    assert (balanced["trials"], balanced["complete"], balanced["fail"], balanced["running"]) == (7, 5, 1, 1)
    assert (balanced["direction"], balanced["best_value"], balanced["best_trial"]) == ("maximize", 0.5901, 3)
    assert old["last_activity"] == "2026-01-02T09:00:30"


def test_show_gives_the_search_space_and_the_overrides_that_all_trials_share(ask: Ask) -> None:
    answer = ask("show").stdout
    assert "regularization.weight_decay     float in [1e-05, 0.0001], log" in answer
    assert re.search(r"fixed_overrides +data=synthetic training.epochs=2", answer)
    assert re.search(r"objective +val_auc", answer)


def test_show_tells_which_intervals_and_overrides_changed_between_trials(
    ask: Ask, fresh: Callable[..., tuple[str, Study]]
) -> None:
    address, study = fresh()
    for high, seed in ((0.35, 1), (0.3, 2)):
        study.add_trial(
            create_trial(
                value=0.5,
                params={"x": 0.2},
                distributions={"x": FloatDistribution(0.1, high)},
                user_attrs={"overrides": ["data=synthetic", f"seed={seed}"]},
            )
        )
    summary = json.loads(ask("show --format json", address).stdout)
    assert summary["search_space"]["x"]["attributes"]["high"] == 0.3
    assert summary["changed_intervals"] == ["x"]
    assert summary["fixed_overrides"] == ["data=synthetic"]
    assert summary["varying_overrides"] == ["seed=1", "seed=2"]


def test_show_n_gives_the_whole_trial(ask: Ask) -> None:
    record = json.loads(ask("show 1 --format json").stdout)
    assert record["params"] == _params(0.25, 3e-5, 0.05)
    assert record["intermediate_values"] == {"1": 0.5814 - 0.01, "2": 0.5814}
    assert record["user_attrs"]["run_dir"] == "runs/balanced/1"
    assert record["duration"] == 30


@pytest.mark.parametrize("line", ["show", "show 1", "show 3 --study balanced"])
def test_show_has_no_name_without_a_value(ask: Ask, line: str) -> None:
    lines = ask(line).stdout.splitlines()
    depths = [len(text) - len(text.lstrip()) for text in lines]
    names = [number for number, text in enumerate(lines) if len(text.split()) == 1]
    assert all(depths[number + 1] > depths[number] for number in names), lines


def test_show_n_of_a_failed_trial_gives_its_traceback_line_by_line(ask: Ask) -> None:
    lines = [line.strip() for line in ask("show 5").stdout.splitlines()]
    assert "ValueError: [bold]NaN[/bold] loss" in lines
    assert re.search(r"^state +FAIL$", ask("show 5").stdout, flags=re.M)


def test_an_unknown_trial_number_is_answered_with_those_that_there_are(ask: Ask) -> None:
    assert "no trial 99: its trials are 0 to 6" in _error(ask("show 99 --study balanced"))


# ---- best


def test_best_names_trial_value_parameters_folder_and_the_line_that_runs_it_again(ask: Ask) -> None:
    (record,) = json.loads(ask("best --format json").stdout)
    assert (record["number"], record["value"], record["run_dir"]) == (3, 0.5901, "runs/balanced/3")
    assert record["params"] == _params(0.349, 4e-5, 0.04)
    line = (
        "python -m sweeper data=synthetic training.epochs=2 regularization.dropout=0.349 "
        "regularization.weight_decay=4e-05 regularization.label_smoothing=0.04"
    )
    assert record["command"] == line
    table = ask("best").stdout
    assert table.splitlines()[-1] == line
    assert "runs/balanced/3" in table


def test_the_overrides_of_the_best_stand_alone_on_one_line(ask: Ask) -> None:
    answer = ask("best --format overrides --study balanced").stdout
    assert answer.count("\n") == 1
    assert answer.split() == json.loads(ask("best --format json").stdout)[0]["overrides"]


def test_best_top_ranks_by_the_direction_of_the_study(ask: Ask) -> None:
    assert [record["number"] for record in json.loads(ask("best --top 3 --format json").stdout)] == [3, 0, 1]


def test_a_study_that_is_named_without_its_option_is_answered_with_the_line_to_type(ask: Ask) -> None:
    for line in ("best balanced", "show 3 balanced"):
        answer = ask(line)
        assert (answer.exit_code, answer.stderr.count("\n")) == (2, 1)
        assert "found balanced, which nothing takes; to name a study, type " in answer.stderr
        assert f"{line.split()[0]} --study balanced" in answer.stderr


def test_best_warns_of_a_parameter_on_the_edge_of_its_interval(ask: Ask) -> None:
    warning = ask("best --study balanced").stderr
    assert warning.count("\n") == 1
    assert "trial 3 lies on the high edge of the interval of regularization.dropout" in warning
    assert "trial 3 lies on the high edge" in ask("show --study balanced").stderr
    assert ask("best --study old").stderr == ""


def test_a_study_without_a_complete_trial_has_no_best(ask: Ask, fresh: Callable[..., tuple[str, Study]]) -> None:
    address, study = fresh()
    study.ask()
    assert "no trial is complete" in _error(ask("best", address))


def test_a_trial_that_violates_a_constraint_is_not_the_best(ask: Ask, fresh: Callable[..., tuple[str, Study]]) -> None:
    address, study = fresh(direction="maximize")
    for value, excess in ((0.9, 0.1), (0.8, -0.1)):
        trial = study.ask()
        trial.set_constraint("gap", excess)
        study.tell(trial, value)
    assert [record["number"] for record in json.loads(ask("best --top 5 --format json", address).stdout)] == [1]


def test_of_several_objectives_the_best_are_the_pareto_front(ask: Ask, fresh: Callable[..., tuple[str, Study]]) -> None:
    address, study = fresh(directions=["maximize", "minimize"])
    for values in ([0.5, 3.0], [0.6, 3.0], [0.4, 1.0]):
        study.tell(study.ask({"x": FloatDistribution(0, 1)}), values)
    records = json.loads(ask("best --top 9 --format json", address).stdout)
    assert [(record["number"], record["value"]) for record in records] == [(1, [0.6, 3.0]), (2, [0.4, 1.0])]
    assert "value.0,value.1,params.x" in ask("trials --format csv", address).stdout
    assert json.loads(ask("list --format json", address).stdout)[0]["direction"] == "maximize,minimize"


# ---- trials


def test_trials_as_csv_have_one_row_a_trial_under_stable_names(ask: Ask) -> None:
    rows = list(csv.DictReader(io.StringIO(ask("trials --format csv").stdout)))
    params = [f"params.{name}" for name in sorted(SPACE)]
    times = ["datetime_start", "datetime_complete", "duration"]
    assert list(rows[0]) == ["number", "state", "value", *params, *ATTRIBUTES, "traceback", *times]
    assert [row["number"] for row in rows] == list("0123456")
    assert rows[0]["value"] == "0.5829"
    assert rows[5]["value"] == ""
    assert json.loads(rows[0]["versions"]) == {"torch": "2.13.0"}


def test_a_study_without_trials_still_has_its_columns(ask: Ask, fresh: Callable[..., tuple[str, Study]]) -> None:
    address, _ = fresh()
    assert ask("trials --format csv", address).stdout.startswith("number,state,value,run_dir,")
    assert json.loads(ask("trials --format json", address).stdout) == []


def test_trials_as_json_keep_numbers_and_nested_attributes(ask: Ask) -> None:
    row = json.loads(ask("trials --format json --limit 1").stdout)[0]
    assert row["params.regularization.weight_decay"] == 1e-5
    assert row["versions"] == {"torch": "2.13.0"}
    assert row["config_hash"] is None


def test_trials_as_parquet_have_the_types_of_their_columns(ask: Ask, tmp_path: Path) -> None:
    assert "--output" in _error(ask("trials --format parquet"))
    assert ask(f"trials --format parquet --output {tmp_path}/t.parquet").exit_code == 0
    frame = pl.read_parquet(tmp_path / "t.parquet")
    assert frame["value"].to_list() == [*VALUES, None, None]
    assert frame.schema["number"] == pl.Int64
    assert frame.schema["gate_mean"] == pl.Float64  # no trial has it
    assert frame["datetime_start"][0] == datetime(2026, 1, 2, 12, 0)
    assert [file.name for file in tmp_path.iterdir()] == ["t.parquet"]


def test_whole_numbers_of_more_than_64_bits_are_texts_in_parquet(
    ask: Ask, fresh: Callable[..., tuple[str, Study]], tmp_path: Path
) -> None:
    address, study = fresh()
    for user_attrs in ({"large": 10**30, "either": 10**400}, {"large": 1, "either": 0.5}):
        study.add_trial(create_trial(value=0.5, user_attrs=user_attrs))
    assert ask(f"trials --format parquet --output {tmp_path}/t.parquet", address).exit_code == 0
    frame = pl.read_parquet(tmp_path / "t.parquet")
    assert frame["large"].to_list() == [str(10**30), "1"]
    assert frame["either"].to_list() == [str(10**400), "0.5"]


def test_trials_are_filtered_sorted_and_limited(ask: Ask) -> None:
    def numbers(options: str) -> list[int]:
        return [row["number"] for row in json.loads(ask(f"trials --format json {options}").stdout)]

    assert numbers("--state fail --state running") == [5, 6]
    assert numbers("--where 'params.regularization.dropout>0.24' --where train_auc<0.63 --sort -value") == [1, 2]
    assert numbers("--where 'state==COMPLETE and dropout>0.24 or trial==5' --sort -trial") == [5, 3, 2, 1]
    assert numbers("--sort -value --limit 2") == [3, 0]


@pytest.mark.parametrize(
    ("options", "message"),
    [("--where auc>0.2", "no column 'auc'"), ("--sort auc", "no column 'auc'"), ("--output t.txt", "needs --format")],
)
def test_trials_of_what_is_not_there_are_refused_in_one_line(ask: Ask, options: str, message: str) -> None:
    assert message in _error(ask(f"trials --study balanced {options}"))


def test_the_table_for_people_names_the_known_points_and_says_why_a_trial_failed(
    ask: Ask, fresh: Callable[..., tuple[str, Study]]
) -> None:
    address, study = fresh()
    study.add_trial(create_trial(value=0.5, user_attrs={"point": "weak"}))
    study.add_trial(create_trial(state=TrialState.FAIL, user_attrs={"error": "RuntimeError: the disk is gone"}))
    table = [line.split(maxsplit=3) for line in ask("trials", address).stdout.splitlines()]
    assert table[0][:4] == ["trial", "state", "value", "point  error"]
    assert table[1] == ["0", "COMPLETE", "0.5", "weak"]
    assert " ".join(table[2]) == "1 FAIL RuntimeError: the disk is gone"


# ---- importance, compare


def test_importances_name_every_parameter_and_sum_to_one(ask: Ask) -> None:
    found = json.loads(ask("importance --format json").stdout)
    assert set(found) == set(SPACE)
    assert sum(found.values()) == pytest.approx(1)
    assert list(found.values()) == sorted(found.values(), reverse=True)


def test_importances_of_a_single_trial_are_refused_with_the_reason(ask: Ask) -> None:
    assert "1 complete trials; importances need at least 2" in _error(ask("importance --study old"))


def test_compare_sets_two_trials_beside_each_other(ask: Ask) -> None:
    answer = ask("compare 0 1 --study balanced").stdout.splitlines()
    assert answer[0].split() == ["metric", "trial", "0", "trial", "1", "delta", "delta", "%"]
    assert ["val_auc", "0.5829", "0.5814", "-0.0015", "-0.25733"] in [line.split() for line in answer]
    rows = json.loads(ask("compare 0 1 --format json").stdout)["rows"]
    assert {row["metric"]: row["b"] for row in rows}["params.regularization.dropout"] == 0.25


def test_compare_of_two_folders_needs_no_database(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("epoch,val_auc\n1,0.5\n")
    answer = ask(f"compare {tmp_path} {tmp_path} --format json", "sqlite:///nowhere.db")
    assert json.loads(answer.stdout)["rows"][2] == {
        "metric": "val_auc",
        "a": 0.5,
        "b": 0.5,
        "delta": 0.0,
        "delta_percent": 0.0,
    }


def test_compare_refuses_a_folder_that_holds_no_run_and_a_trial_without_an_epoch(ask: Ask, tmp_path: Path) -> None:
    assert "holds no metrics.csv" in _error(ask(f"compare {tmp_path} {tmp_path}"))
    assert "trial 6 (RUNNING) has no epoch" in _error(ask("compare 6 0 --study balanced"))


# ---- plot, export


def test_export_holds_the_whole_study_and_is_named_after_it_in_a_folder(ask: Ask, tmp_path: Path) -> None:
    answer = ask(f"export --output {tmp_path}/out --study balanced")
    assert answer.stdout.strip() == f"{tmp_path}/out/balanced.json"
    study = json.loads((tmp_path / "out" / "balanced.json").read_text())
    assert [trial["state"] for trial in study["trials"]] == ["COMPLETE"] * 5 + ["FAIL", "RUNNING"]
    assert study["trials"][0]["intermediate_values"] == {"1": 0.5829 - 0.01, "2": 0.5829}
    assert study["trials"][0]["distributions"]["regularization.dropout"]["attributes"]["high"] == 0.35
    assert ask(f"export --output {tmp_path}/one.json --study old").exit_code == 0
    assert json.loads((tmp_path / "one.json").read_text())["study"] == "old"


@pytest.mark.parametrize(
    "line", ["export --output {}/x.json", "trials --format csv --output {}/x", "trials --format json --output {}/x",
             "export --output {}/x.csv", "trials --format parquet --output {}/x", "plot --output {}/x.html"]
)  # fmt: skip
def test_the_same_line_typed_twice_replaces_what_it_wrote_and_no_other_file(
    ask: Ask, tmp_path: Path, line: str
) -> None:
    pytest.importorskip("plotly")
    typed = f"{line.format(tmp_path)} --study balanced"
    assert ask(typed).exit_code == ask(typed).exit_code == 0
    [file] = tmp_path.iterdir()
    file.write_text("id,label\n1,0\n")
    assert "is there already, and is no file that mdaf-study wrote; choose another name" in _error(ask(typed))
    assert file.read_text() == "id,label\n1,0\n"


@pytest.mark.parametrize(
    ("line", "endings"),
    [("plot --output {}/s.csv", ".html"), ("plot --output {}/s", ".html"),
     ("export --output {}/s.html", ".json or .csv or .parquet")],
)  # fmt: skip
def test_a_file_has_the_ending_of_what_it_holds(ask: Ask, tmp_path: Path, line: str, endings: str) -> None:
    said = _error(ask(f"{line.format(tmp_path)} --study balanced"))
    assert said.rstrip().endswith(f"expected a name that ends in {endings}")
    assert list(tmp_path.iterdir()) == []


def test_numbers_that_are_not_finite_are_exported_as_json_that_others_can_read(
    ask: Ask, fresh: Callable[..., tuple[str, Study]], tmp_path: Path
) -> None:
    address, study = fresh()
    trial = study.ask()
    trial.report(float("inf"), 1)
    study.tell(trial, 0.5)
    ask(f"export --output {tmp_path}/e.json", address)
    exported = json.loads((tmp_path / "e.json").read_text(), parse_constant=pytest.fail)
    assert exported["trials"][0]["intermediate_values"] == {"1": "inf"}


def test_plots_stand_in_one_page_that_needs_no_network(ask: Ask, tmp_path: Path) -> None:
    pytest.importorskip("plotly")
    assert ask(f"plot --output {tmp_path}/study.html --study balanced").exit_code == 0
    page = (tmp_path / "study.html").read_text()
    assert re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=[\"']?https?:", page) == []
    assert len(re.findall(r"Plotly\.newPlot\(", page.partition("<body>")[2])) == 6
    assert page.count("plotly.js v") == 1
    assert "Not drawn" not in page.partition("<body>")[2]


def test_a_plot_that_needs_more_trials_is_replaced_by_the_reason(ask: Ask, tmp_path: Path) -> None:
    pytest.importorskip("plotly")
    assert ask(f"plot --output {tmp_path}/study.html --study old").exit_code == 0
    assert "importances need at least 2" in (tmp_path / "study.html").read_text().partition("<body>")[2]


def test_without_plotly_the_plots_are_refused_with_how_to_install_it(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    assert "pip install 'plotly>=6'" in _error(ask(f"plot --output {tmp_path}/study.html --study balanced"))
    assert list(tmp_path.iterdir()) == []


# ---- for scripts


@pytest.mark.parametrize("command", [*COMMANDS, "show 5", "trials --format csv", "trials --format json", "show 0"])
def test_no_answer_shows_a_password_or_colours_what_is_not_a_terminal(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FORCE_COLOR", "1")
    answer = ask(command)
    written = "".join(file.read_text() for file in tmp_path.rglob("*") if file.is_file())
    for text in (answer.stdout, answer.stderr, written):
        assert "hunter2" not in text
    assert "\x1b" not in answer.stdout + answer.stderr


def test_tables_are_never_cut_or_wrapped_off_a_terminal(ask: Ask, fresh: Callable[..., tuple[str, Study]]) -> None:
    address, study = fresh()
    study.add_trial(create_trial(value=1.0, user_attrs={"run_dir": "runs/" + "long/" * 100}))
    assert "runs/" + "long/" * 100 in ask("trials", address).stdout
    assert len(ask("trials", address).stdout.splitlines()) == 2
