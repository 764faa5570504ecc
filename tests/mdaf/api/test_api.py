"""Runs, sweeps, studies and reports from Python give what the commands give, and leave nothing behind."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest
from hydra.core.global_hydra import GlobalHydra

import mdaf
from mdaf.api import command, display
from mdaf.api.command import outcome_of
from mdaf.api.finished_run import Run
from mdaf.api.overrides import words_of
from mdaf.errors import StoppedError, UserError
from tests.data.new_rows.test_encoding import rows_of
from tests.mdaf.api.forked import ForkedChild
from tests.sweeper.inside import TINIER, assert_same_run
from tests.sweeper.inside import run as typed

TALKING = "tests.mdaf.api.talking"
MARKUP = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("api")


@pytest.fixture(scope="module")
def forks() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(command, "Child", ForkedChild)
        yield patched


@pytest.fixture(scope="module")
def trained(folder: Path, forks: pytest.MonkeyPatch) -> tuple[Run, dict[str, Any], dict[str, Any]]:
    """A run, and what the process held before and after it."""
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        before = held()
        found = mdaf.run([*TINIER, "hydra.run.dir=python"], quiet=True)
        return found, before, held()


def held() -> dict[str, Any]:
    """What a process has one of."""
    return {
        "cwd": os.getcwd(),
        "environment": dict(os.environ),
        "handlers": list(logging.getLogger().handlers),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "hydra": GlobalHydra.instance().is_initialized(),
        "arguments": list(sys.argv),
    }


def test_a_run_from_python_is_bit_for_bit_the_run_of_the_command(folder: Path, trained: tuple[Run, Any, Any]) -> None:
    assert typed(folder, "hydra.run.dir=typed") == 0
    assert_same_run(trained[0].folder, folder / "typed")


def test_a_run_leaves_nothing_behind_in_the_process_that_called_it(trained: tuple[Run, Any, Any]) -> None:
    _, before, after = trained
    assert before == after


def test_a_finished_run_has_its_best_value_its_metrics_and_a_table_for_notebooks(trained: tuple[Run, Any, Any]) -> None:
    run = trained[0]
    assert isinstance(run.metrics, pd.DataFrame)
    assert list(run.metrics["epoch"]) == [1, 2]
    assert run.best_value == run.metrics["val_auc"].max()
    assert run.best_epoch == run.metrics["val_auc"].idxmax() + 1
    assert f"best val_auc {run.best_value:.4f} in epoch {run.best_epoch} of 2" in repr(run)
    assert str(run.folder) in run._repr_html_()
    assert f"{run.best_value:.4f}" in run.summary


def test_a_finished_run_scores_rows_as_mdaf_load_does(
    folder: Path, trained: tuple[Run, Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    run = trained[0]
    loaded = mdaf.load(run)
    rows = rows_of(loaded.store, "validation", ("user", "item")).head(5)
    assert loaded.predict(rows).equals(run.predict(rows))
    assert run.predict(rows)["score"].is_between(0, 1).all()


def test_what_was_mistyped_is_raised_with_the_line_that_the_command_says(forks: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"^training\.epoch: there is no such key; did you mean training\.epochs=2\?$"):
        mdaf.run({"training.epoch": 2}, quiet=True)
    with pytest.raises(UserError, match=r"^overrides: found the text 'model=din', expected a list"):
        mdaf.run("model=din")
    with pytest.raises(UserError, match="a grid of runs has no study"):
        mdaf.sweep(["hydra/sweeper=basic"])


def test_a_commands_end_is_an_exception_of_its_kind_and_its_lines_are_shown(
    capsys: pytest.CaptureFixture[str], forks: pytest.MonkeyPatch
) -> None:
    assert outcome_of(TALKING, ["ends"]) == {"folder": "somewhere"}
    assert capsys.readouterr().err == "a first line\n"
    with pytest.raises(UserError, match=r"^training\.epoch: there is no such key$"):
        outcome_of(TALKING, ["refuses"], quiet=True)
    with pytest.raises(StoppedError, match=r"ended with exit code 1: RuntimeError: out of luck$"):
        outcome_of(TALKING, ["breaks"], quiet=True)
    assert capsys.readouterr().err == ""


def test_an_interruption_asks_the_command_to_save_and_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []

    class Kept(ForkedChild):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            started.append(self)

    def interrupt_when_it_waits(self: display.Shown, text: str) -> None:
        if text == "waiting":
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    monkeypatch.setattr(command, "Child", Kept)
    monkeypatch.setattr(display.Shown, "line", interrupt_when_it_waits)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            outcome_of(TALKING, ["waits"])
    finally:
        signal.signal(signal.SIGINT, before)
    assert started[0].returncode == 75


def test_overrides_of_a_mapping_are_read_back_with_the_same_values_and_types() -> None:
    given = {
        "a.b": 1e-4,
        "name": "1",
        "list": ["x y", None],
        "flag": True,
        "searched": "interval(0, 1)",
        "p": Path("/d"),
    }
    assert words_of(given) == [
        "a.b=0.0001",
        "name='1'",
        "list=['x y',null]",
        "flag=true",
        "searched=interval(0, 1)",
        "p=/d",
    ]
    with pytest.raises(UserError, match="overrides: x: an override cannot hold"):
        words_of({"x": object()})


# ---- studies


@pytest.fixture(scope="module")
def storage(folder: Path) -> str:
    url = f"sqlite:///{folder}/other.db"
    study = optuna.create_study(storage=url, study_name="other", direction="minimize")
    space = {
        "x": optuna.distributions.FloatDistribution(0, 1),
        MARKUP: optuna.distributions.CategoricalDistribution(["a"]),
    }
    for x, seed, value in ((0.5, 1, 3.0), (0.5, 2, 5.0), (0.25, 1, 1.0)):
        study.add_trial(
            optuna.trial.create_trial(
                params={"x": x, MARKUP: "a"}, distributions=space, value=value, user_attrs={"seed": seed}
            )
        )
    return url


def test_a_study_is_a_frame_of_its_points_the_best_first(storage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MDAF_STORAGE", storage)
    found = mdaf.study("other")
    assert list(found["mean"]) == [1.0, 4.0]
    assert found["error"].isna().tolist() == [True, False]
    assert found["error"][1] == pytest.approx(1.0)
    assert found["seeds"].tolist() == [[1], [1, 2]]
    assert found["params.x"].tolist() == [0.25, 0.5]
    assert found.attrs == {"study": "other", "storage": storage}
    assert mdaf.study().equals(found)  # the most recent one


def test_no_text_of_a_study_is_markup_in_a_notebook(storage: str, folder: Path) -> None:
    assert MARKUP not in mdaf.study("other", storage)._repr_html_()
    report = made_report(folder, MARKUP)
    assert MARKUP not in report._repr_html_()
    assert "&lt;script&gt;" in report._repr_html_()
    assert MARKUP in repr(report)


@pytest.mark.parametrize("given", [5, None, ["runs", "clean", "--yes"], ["--help"], [b"seed=1"]])
def test_overrides_that_are_none_are_refused_before_anything_begins(given: Any) -> None:
    with pytest.raises(UserError, match="overrides: found "):
        mdaf.run(given)


def test_a_name_a_storage_and_a_folder_of_another_type_are_said_in_one_line() -> None:
    calls: list[Callable[[], Any]] = [
        lambda: mdaf.study(5),  # type: ignore[arg-type]
        lambda: mdaf.study("s", 5),  # type: ignore[arg-type]
        lambda: Run(5),  # type: ignore[arg-type]
        lambda: mdaf.load(5),  # type: ignore[arg-type]
        lambda: mdaf.report("s", folder=5),  # type: ignore[arg-type]
        lambda: mdaf.report("s", storage=5),  # type: ignore[arg-type]
    ]
    for call in calls:
        with pytest.raises(UserError, match="found 5, expected a"):
            call()


def test_a_missing_study_is_one_line(storage: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no study 'othr'; there is: other; did you mean other"):
        mdaf.study("othr", storage)
    with pytest.raises(UserError, match="no such file"):
        mdaf.study("s", f"sqlite:///{tmp_path}/none.db")


def test_importing_mdaf_and_asking_a_study_of_another_program_needs_no_torch(storage: str) -> None:
    code = (
        "import sys, mdaf; light = {'torch', 'optuna', 'pandas', 'hydra', 'polars', 'omegaconf'} & set(sys.modules); "
        f"assert not light, light; mdaf.study('other', {storage!r}); assert 'torch' not in sys.modules; "
        "assert not {'mdaf.model', 'mdaf.data', 'mdaf.conf', 'mdaf.sweeper.job'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# ---- reports


def made_report(folder: Path, name: str) -> Any:
    home = folder / "phase4" / "study" / "report"
    home.mkdir(parents=True, exist_ok=True)
    look = {"n": 4, "mean": 0.0123}
    decision = {"a": name, "b": "balanced", "verdict": "better", "deploy": name, "looks": [look]}
    content = {"format": 2, "inputs": {"study": "study"}, "figures": {"decision": decision}}
    (home / "report.json").write_text(json.dumps(content))
    return mdaf.report("study", folder=folder / "phase4")


def test_a_report_that_is_there_is_found_and_says_its_verdict(folder: Path) -> None:
    report = made_report(folder, "trial-3")
    assert report.verdict == "trial-3 is better than balanced: mean difference +0.0123 over 4 pairs of seeds"
    assert (report.deploy, report.path.name, report.figures["decision"]["b"]) == ("trial-3", "report.html", "balanced")


def test_a_report_that_is_missing_is_one_line_with_what_makes_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no report on study s; mdaf\.report\('s', run=True\) makes one"):
        mdaf.report("s", folder=tmp_path)


# ---- notebooks


def test_in_a_notebook_the_latest_lines_stand_in_one_place_and_are_no_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []

    class Handle:
        def update(self, content: str) -> None:
            shown.append(content)

    def show(content: str, display_id: bool) -> Handle:
        shown.append(content)
        return Handle()

    module = type(sys)("IPython.display")
    module.HTML, module.display = str, show  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    monkeypatch.setattr(display, "in_notebook", lambda: True)
    lines = display.Shown()
    for number in range(30):
        lines.line(f"line {number} {MARKUP}")
    lines.close()
    assert len(shown) <= 3
    assert shown[-1].count("line ") == display.LINES
    assert "line 29 &lt;script&gt;" in shown[-1]
    assert MARKUP not in "".join(shown)
