"""The study query on a sweep that runs: watching it, giving up what is dead, the dashboard."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
import types
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.study import Study
from optuna.trial import TrialState, create_trial
from typer.testing import CliRunner, Result

from mdaf.processes.identity import this_process
from mdaf.sweeper.storage.opening import open_storage
from mdaf.sweeper.study.cli import app
from mdaf.sweeper.study.commands.watched import live_rows
from mdaf.sweeper.trials.leases import LEASE_EXPIRES, WORKER
from mdaf.sweeper.trials.user_attrs import RETRY_OF
from tests.sweeper.tiny import ROOT

SPACE: dict[str, BaseDistribution] = {"regularization.dropout": FloatDistribution(0.15, 0.35)}
DEAD, ALIVE, ELSEWHERE, FOREIGN, DONE = range(5)  # the trials of the study, by number


def add(study: Study, state: TrialState, dropout: float, **attributes: Any) -> None:
    study.add_trial(
        create_trial(
            state=state,
            value=0.58 if state is TrialState.COMPLETE else None,
            params={"regularization.dropout": dropout},
            distributions=SPACE,
            user_attrs=attributes,
            intermediate_values={1: 0.55, 2: 0.57, 3: 0.56},
        )
    )


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A study of trials that run: dead, alive, on another machine, another program's; and one that is done."""
    address = f"sqlite:///{tmp_path}/s.db"
    study = optuna.create_study(storage=open_storage(address, create=True), study_name="s", direction="maximize")
    host, pid, start = this_process().split(":")
    leased = {LEASE_EXPIRES: time.time()}
    add(study, TrialState.RUNNING, 0.2, **leased, **{WORKER: f"{host}:{pid}:{int(start) - 1}"})
    add(study, TrialState.RUNNING, 0.3, **leased, **{WORKER: this_process()})
    add(study, TrialState.RUNNING, 0.25, **leased, **{WORKER: "far-away/0123abcd:4711:99"})
    add(study, TrialState.RUNNING, 0.22)
    add(study, TrialState.COMPLETE, 0.24, password="postgresql://me:hunter2@db/s")
    return address


def ask(url: str, *words: str) -> Result:
    return CliRunner().invoke(app, [words[0], "--storage", url, *words[1:]])


def load(url: str) -> Study:
    return optuna.load_study(study_name="s", storage=open_storage(url, create=False))


def states(url: str) -> list[str]:
    return [trial.state.name for trial in load(url).get_trials()]


# ---- reap


def test_reap_says_of_every_running_trial_whether_it_is_dead_and_why_and_changes_nothing(url: str) -> None:
    before = states(url)
    answer = ask(url, "reap", "--format", "json")
    rows = {row["number"]: row for row in json.loads(answer.stdout)}
    assert {number: row["dead"] for number, row in rows.items()} == {
        DEAD: True,
        ALIVE: False,
        ELSEWHERE: False,
        FOREIGN: False,
    }
    for number, reason in {
        DEAD: "is gone",
        ALIVE: "its process lives",
        ELSEWHERE: "--wait watches its lease",
        FOREIGN: "has no lease",
    }.items():
        assert reason in rows[number]["why"]
    assert "1 of 4 would be given up; nothing was changed, --yes does it" in answer.stderr
    assert states(url) == before


def test_reap_yes_fails_the_dead_and_puts_their_points_in_line_again(url: str) -> None:
    rows = {row["number"]: row for row in json.loads(ask(url, "reap", "--yes", "--format", "json").stdout)}
    assert [number for number, row in rows.items() if row["given_up"]] == [DEAD]
    again = load(url).get_trials()[rows[DEAD]["retry"]]
    assert again.state is TrialState.WAITING
    assert again.user_attrs[RETRY_OF] == DEAD
    assert again.system_attrs["fixed_params"] == {"regularization.dropout": 0.2}
    assert states(url)[: DONE + 1] == ["FAIL", "RUNNING", "RUNNING", "RUNNING", "COMPLETE"]


def test_reap_gives_up_by_hand_a_trial_that_another_program_left(url: str) -> None:
    rows = {
        row["number"]: row
        for row in json.loads(ask(url, "reap", "--trial", str(FOREIGN), "--yes", "--format", "json").stdout)
    }
    assert rows[FOREIGN]["given_up"]
    assert states(url)[FOREIGN] == "FAIL"
    assert load(url).get_trials()[rows[FOREIGN]["retry"]].user_attrs[RETRY_OF] == FOREIGN


def test_reap_refuses_to_give_up_what_is_done(url: str) -> None:
    answer = ask(url, "reap", "--trial", str(DONE), "--yes")
    assert answer.exit_code == 2
    assert f"trial {DONE} is COMPLETE, not RUNNING" in answer.stderr
    assert states(url)[DEAD] == "RUNNING"


def test_reap_wait_gives_up_what_another_machine_no_longer_renews(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    answer = ask(url, "reap", "--wait", "--yes", "--format", "json")
    rows = {row["number"]: row for row in json.loads(answer.stdout)}
    assert "its lease was not renewed" in rows[ELSEWHERE]["why"]
    assert [number for number, row in rows.items() if row["given_up"]] == [DEAD, ELSEWHERE]


def test_reap_of_a_study_in_which_nothing_runs_says_so(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path}/s.db"
    optuna.create_study(storage=open_storage(address, create=True), study_name="s")
    answer = ask(address, "reap")
    assert (answer.exit_code, answer.stdout, answer.stderr) == (0, "", "no trial is running\n")


# ---- watch


def test_watch_off_a_terminal_prints_the_running_and_the_latest_trials_once(url: str) -> None:
    answer = ask(url, "watch")
    lines = answer.stdout.splitlines()
    assert lines[0] == "s: 1 done, 4 running; best: trial 4 with 0.58: dropout=0.24"
    assert lines[1].split()[:6] == ["trial", "state", "value", "epoch", "seconds", "dropout"]
    assert [line.split()[0] for line in lines[2:]] == ["3", "2", "1", "0", "4"]
    assert "hunter2" not in answer.stdout


def test_a_running_trial_is_shown_with_its_best_epoch_so_far_and_its_last_epoch(url: str) -> None:
    row = {row["number"]: row for row in live_rows(load(url), last=0)}[ALIVE]
    assert (row["value"], row["epoch"], row["holder"]) == (0.57, 3, this_process())
    assert row["params.regularization.dropout"] == 0.3


def test_watch_of_a_study_without_trials_says_so(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path}/s.db"
    optuna.create_study(storage=open_storage(address, create=True), study_name="s")
    assert ask(address, "watch").stdout.strip() == "s: no trial yet"


def test_watch_on_a_terminal_follows_the_study_until_ctrl_c(url: str) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "mdaf.sweeper.study", "watch", "--every", "0.1", "--storage", url]
    process = subprocess.Popen(
        command,
        stdout=theirs,
        stderr=theirs,
        cwd=ROOT,
        env=os.environ | {"COLUMNS": "150"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a test run in the background ignores it
    )
    os.close(theirs)
    try:
        assert "trial 4 with 0.58" in read_until(ours, "Ctrl-C ends this view")
        study = load(url)
        study.tell(study.ask(SPACE), 0.61)
        assert "2 done" in read_until(ours, "trial 5 with 0.61")
    finally:
        process.send_signal(signal.SIGINT)
        read_until(ours, None)
        os.close(ours)
    assert process.wait(timeout=60) == 0


def read_until(terminal: int, text: str | None) -> str:
    """What a program writes to its terminal until ``text`` came, or until it ends."""
    read = ""
    while text is None or text not in read:
        ready, _, _ = select.select([terminal], [], [], 60)
        assert ready, f"{text!r} did not come; so far: {read}"
        try:
            read += os.read(terminal, 65536).decode(errors="replace")
        except OSError:  # the program closed its end
            return read
    return read


# ---- retry


@pytest.fixture
def failed(tmp_path: Path) -> str:
    """Trials 0 and 1 failed, 2 failed and was finished as 3, 4 never had a point, 5 is complete, 6 ran out of lives."""
    address = f"sqlite:///{tmp_path}/s.db"
    study = optuna.create_study(study_name="s", storage=open_storage(address, create=True))
    fail = {"error": "RuntimeError: the disk is gone"}
    add(study, TrialState.FAIL, 0.20, point="weak", deaths=3, retry_overrides=["device.micro_batch=1"], **fail)
    add(study, TrialState.FAIL, 0.21, **fail)
    add(study, TrialState.FAIL, 0.22, **fail)
    add(study, TrialState.COMPLETE, 0.22, retry_of=2)
    study.add_trial(optuna.trial.create_trial(state=TrialState.FAIL, user_attrs={"withdrawn": "too late"}))
    add(study, TrialState.COMPLETE, 0.23)
    add(study, TrialState.FAIL, 0.24, died="its process is gone", deaths=4)
    return address


def test_retry_lists_what_failed_and_nobody_has_finished_and_changes_nothing(failed: str) -> None:
    answer = ask(failed, "retry", "--format", "json")
    assert [(row["number"], row["point"], row["why"]) for row in json.loads(answer.stdout)] == [
        (0, "weak", "RuntimeError: the disk is gone"),
        (1, None, "RuntimeError: the disk is gone"),
        (6, None, "its process is gone"),
    ]
    assert "3 would be put in line; nothing was changed, --yes does it" in answer.stderr
    assert len(states(failed)) == 7


def test_retry_yes_puts_points_in_line_once_without_what_their_trials_had_suffered(failed: str) -> None:
    for _ in range(2):
        answer = ask(failed, "retry", "--yes", "--format", "json")
        assert answer.exit_code == 0
    assert json.loads(answer.stdout) == []
    assert states(failed)[7:] == ["WAITING"] * 3
    waiting = load(failed).get_trials()[7]
    assert waiting.system_attrs["fixed_params"] == {"regularization.dropout": 0.2}
    assert {name: waiting.user_attrs.get(name) for name in (RETRY_OF, "point", "deaths", "retry_overrides")} == {
        RETRY_OF: 0,
        "point": "weak",
        "deaths": None,
        "retry_overrides": None,
    }


def test_retry_takes_numbers_and_says_what_became_of_one_that_cannot_be_tried_again(failed: str) -> None:
    assert ask(failed, "retry", "1", "--yes").exit_code == 0
    for number, said in {
        1: "trial 1 is tried again as trial 7, which is WAITING",
        2: "trial 2 is tried again as trial 3, which is COMPLETE",
        4: "trial 4 never had a point",
        5: "trial 5 is COMPLETE, not FAIL",
        99: "has no trial 99",
    }.items():
        answer = ask(failed, "retry", "0", str(number), "--yes")
        assert (answer.exit_code, answer.stderr.count("\n")) == (2, 1)
        assert said in answer.stderr
    assert states(failed)[7:] == ["WAITING"]


# ---- dashboard


def test_without_optuna_dashboard_it_is_said_how_to_install_it(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    answer = ask(url, "dashboard")
    assert answer.exit_code == 2
    assert answer.stderr.count("\n") == 1
    assert "pip install 'optuna-dashboard>=" in answer.stderr


def test_the_dashboard_serves_the_storage_until_ctrl_c(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    served = {}

    def run_server(storage: Any, host: str, port: int) -> None:
        served.update(studies=optuna.get_all_study_names(storage), host=host, port=port)
        raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "optuna_dashboard", types.SimpleNamespace(run_server=run_server))
    answer = ask(url, "dashboard", "--port", "8123")
    assert served == {"studies": ["s"], "host": "127.0.0.1", "port": 8123}
    assert (answer.exit_code, answer.stderr.count("http://127.0.0.1:8123/dashboard")) == (0, 1)
