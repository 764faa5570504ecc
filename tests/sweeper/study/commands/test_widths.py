"""Every table on terminals of 60, 80 and 120 columns, and in a pipe."""

from __future__ import annotations

import os
import pty
import re
import select
import sys
from collections.abc import Callable

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial
from rich.console import Group

from mdaf.multirun.launching import table
from mdaf.sweeper.run_folders.table import print_table
from mdaf.sweeper.runs.metric_columns import OF_A_MULTIRUN
from mdaf.sweeper.storage.opening import open_storage
from mdaf.sweeper.study.cli import app
from mdaf.sweeper.study.commands import watched
from mdaf.sweeper.study.status.status import Reader

NAME = "regularization-mdaf_mamba-user_behavior"
SPACE = {
    f"regularization.{name}": FloatDistribution(0, 1, log=False)
    for name in ("dropout", "weight_decay", "label_smoothing")
}
BROKEN = re.compile(r"(?m)^\s*\w{1,2}\s*$")  # a line of a letter or two, as of a word that was broken


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    address = f"sqlite:///{tmp_path_factory.mktemp('studies')}/s.db"
    study = optuna.create_study(storage=open_storage(address, create=True), study_name=NAME, direction="maximize")
    for number in range(3):
        complete = number < 2
        attributes = {"run_dir": f"runs/studies/{NAME}/{number}", "best_epoch": 2, "train_auc": 0.59, "seed": 7}
        if not complete:
            attributes["error"] = "RuntimeError: the disk is gone and nothing can be written any more"
        study.add_trial(
            create_trial(
                state=TrialState.COMPLETE if complete else TrialState.FAIL,
                value=0.58 + 0.001 * number if complete else None,
                params=dict.fromkeys(SPACE, 0.123456789 + number / 10),
                distributions=SPACE,
                intermediate_values={1: 0.57, 2: 0.58} if complete else {},
                user_attrs=attributes | {"train_val_gap": 0.01, "gate_mean": 0.2, "val_loss": 0.61, "val_ece": 0.043},
            )
        )
    return address


def on_a_terminal(call: Callable[[], object], columns: int, monkeypatch: pytest.MonkeyPatch) -> str:
    """What a call writes where standard output and error are a terminal of so many columns."""
    ours, theirs = pty.openpty()
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        monkeypatch.setattr(sys, "stderr", terminal)
        try:
            call()
        finally:
            terminal.flush()
            monkeypatch.undo()
        read = b""
        while select.select([ours], [], [], 0.2)[0]:
            read += os.read(ours, 65536)
    os.close(ours)
    return re.sub(r"\x1b\[[0-9;]*m", "", read.decode()).replace("\r\n", "\n")


def asked(url: str, *words: str) -> Callable[[], object]:
    return lambda: app([words[0], "--storage", url, *words[1:]], standalone_mode=False)


@pytest.mark.parametrize("columns", [60, 80, 120])
@pytest.mark.parametrize(
    "words",
    [["list"], ["trials"], ["best", "--top", "2"], ["show"], ["importance"], ["compare", "0", "1"]],
    ids=lambda words: words[0],
)
def test_every_answer_of_the_study_can_be_read_at_every_width(
    url: str, words: list[str], columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = on_a_terminal(asked(url, *words), columns, monkeypatch)
    lines = [line for line in text.splitlines() if not line.startswith(("python -m", "not shown"))]
    assert lines
    assert max(map(len, lines)) <= columns
    assert not BROKEN.search("\n".join(lines))
    assert "…" not in text
    assert words[0] != "compare" or " delta " in text.split("not shown")[0]
    if words[0] == "list":
        assert all(shown in text for shown in (NAME, "0.581", "complete", "fail"))
    if words[0] == "trials" and columns == 60:
        assert "--format json has all" in text
        assert "not shown, since the terminal is narrow: " in text


@pytest.mark.parametrize("columns", [60, 80])
def test_the_best_value_and_the_trials_by_state_stand_below_a_study_with_a_long_name(
    url: str, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = on_a_terminal(asked(url, "list"), columns, monkeypatch).splitlines()
    assert lines[0] == NAME
    said = " ".join(line.strip() for line in lines[1:])
    assert said.startswith("trials: 3 (2 complete, 1 fail), best_value: 0.581, best_trial: 1, last_activity: ")
    assert said.endswith("direction: maximize")


def test_a_table_has_no_column_that_is_empty_in_all_its_rows(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    asked(url, "trials")()
    assert " error" in capsys.readouterr().out.splitlines()[0]
    asked(url, "trials", "--state", "complete")()
    assert " error" not in capsys.readouterr().out.splitlines()[0]


def view_of(study: optuna.Study, last: int, columns: int) -> Group:
    return watched.view(Reader(study).read(), watched.live_rows(study, last), columns - 1)


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_the_view_of_a_running_sweep_fits_its_terminal_and_says_what_it_leaves_out(
    url: str, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = optuna.load_study(study_name=NAME, storage=open_storage(url, create=False))
    from rich.console import Console

    text = on_a_terminal(lambda: Console().print(view_of(study, 10, columns)), columns, monkeypatch)
    assert max(map(len, text.splitlines())) <= columns
    assert "trial" in text
    assert ("not shown" in text) == (columns < 120)


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_the_table_of_a_grid_fits_its_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [
        {"configuration": "data=user_behavior", "seed": seed, "best_epoch": 2, "run": str(seed), "folder": "x"}
        | dict.fromkeys(OF_A_MULTIRUN, 0.5)
        for seed in (42, 2024)
    ]
    text = on_a_terminal(lambda: table.show(runs, "runs/multirun/2026-01-01/12-00-00"), columns, monkeypatch)
    assert max(map(len, text.splitlines())) <= columns
    assert all(word in text for word in ("seed", "val_auc", "mean", "std", "2024", "0.5000"))
    assert ("gate_mean" in text.split("not shown")[0]) == (columns == 120)


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_status_and_best_value_of_runs_are_shown_beside_long_folders(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = {"kind": "sweep", "metric": "val_auc", "seed": None, "written": 0.0, "bytes": 2_000_000, "remark": ""}
    row = shared | {"path": f"runs/studies/{NAME}", "runs": {"finished": 5}, "status": "finished", "best": 0.5277}
    row |= {"best_run": f"runs/studies/{NAME}/0", "what": "data=user_behavior model=mdaf_mamba training.epochs=2"}
    text = on_a_terminal(lambda: print_table([row, row]), columns, monkeypatch)
    assert max(map(len, text.splitlines())) <= columns
    assert text.count(f"runs/studies/{NAME}") == text.count("5 finished") == text.count("0.5277") == 2


def test_in_a_pipe_nothing_is_cut(url: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    for words in (["trials"], ["list"]):
        asked(url, *words)()
    out, err = capfd.readouterr()
    assert f"runs/studies/{NAME}/2" in out
    assert "the disk is gone and nothing can be written any more" in out
    assert "last_activity" in out
    assert "not shown" not in err


def test_log_loss_and_calibration_error_stand_beside_the_value_of_each_trial(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = on_a_terminal(asked(url, "trials"), 240, monkeypatch).splitlines()
    [heading] = [line for line in lines if "val_loss" in line]
    [first] = [line for line in lines if line.split()[:2] == ["0", "COMPLETE"]]
    shown = dict(zip(heading.split(), first.split(), strict=False))
    assert (shown["val_loss"], shown["val_ece"]) == ("0.61", "0.043")
