"""Whoever is to be told of a command's end is told, by a program or a webhook; whatever fails there is one warning."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import optuna
import pytest

from mdaf.messages import alerts
from mdaf.sweeper.job.recorder import Recorder
from mdaf.sweeper.study.queries import trials_of
from tests.sweeper.inside import run

SECRET = "hush-hush"


@pytest.fixture(scope="module")
def server() -> Iterator[HTTPServer]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.server.got.append((self.path, self.headers["Content-Type"], json.loads(body)))  # type: ignore[attr-defined]
            if "garbage" in self.path:
                self.wfile.write(b"garbage\r\n\r\n")
                return
            self.send_response(500 if "broken" in self.path else 302 if "moved" in self.path else 200)
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    found = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=found.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield found
    found.shutdown()
    found.server_close()


@pytest.fixture
def got(server: HTTPServer) -> list[Any]:
    server.got = []  # type: ignore[attr-defined]
    return server.got  # type: ignore[attr-defined]


@pytest.fixture
def hook(server: HTTPServer, got: list[Any]) -> str:
    return f"alert.webhook=http://127.0.0.1:{server.server_port}/{SECRET}"


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A program that writes down its arguments and its input."""
    file = tmp_path / "told.py"
    file.write_text("import pathlib, sys\npathlib.Path('told').write_text(repr(sys.argv[1:]) + sys.stdin.read())\n")
    return file


def test_a_webhook_hears_of_a_new_best_epoch_and_of_the_end_and_no_file_has_its_path(
    tmp_path: Path, hook: str, got: list[Any]
) -> None:
    assert run(tmp_path, hook, "hydra.run.dir=r", "training.epochs=3", "training.learning_rate=1e-3") == 0
    values = [float(line.split(",")[4]) for line in (tmp_path / "r/metrics.csv").read_text().splitlines()[1:]]
    better = [n for n in range(1, len(values)) if values[n] > max(values[:n])]
    assert [content["event"] for _, _, content in got] == [*["new_best"] * len(better), "finished"]
    path, kind, content = got[-1]
    assert (path, kind) == (f"/{SECRET}", "application/json")
    assert content["value"] == max(values)
    assert content["folder"].endswith("/r")
    assert "finished: best" in content["text"]
    written = [file for file in tmp_path.rglob("*") if file.is_file() and SECRET.encode() in file.read_bytes()]
    assert written == []


def test_a_program_gets_the_message_on_its_input_or_as_its_last_argument_and_no_shell_reads_it(
    tmp_path: Path, program: Path
) -> None:
    command = f"alert.command=['{sys.executable}','{program}','$HOME; ls']"
    typed = ("hydra.run.dir=r", "training.epochs=1", "alert.on=[finished]", command)
    assert run(tmp_path, *typed) == 0
    told = (tmp_path / "told").read_text()
    assert told.startswith("['$HOME; ls']mdaf on ")
    assert told.endswith("\n")  # the shell's `read` fails on a last line without an end
    assert run(tmp_path, *typed, "resume=auto", "alert.message=argument") == 0
    assert (tmp_path / "told").read_text().startswith("['$HOME; ls', 'mdaf on ")


def test_a_sweep_tells_of_a_better_trial_of_the_first_failure_and_of_its_end(
    tmp_path: Path, hook: str, got: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Recorder.epoch
    values = iter([0.6, None, None, 0.7])

    def made_up(self: Recorder, row: Any, *rest: Any, **named: Any) -> bool:
        if (value := next(values)) is None:
            raise RuntimeError("out of luck")
        return original(self, row | {"val_auc": value}, *rest, **named)

    monkeypatch.setattr(Recorder, "epoch", made_up)
    sweep = ("-m", "hydra/sweeper=regularization", "hydra.sweeper.n_trials=2", "hydra.sweeper.study_name=s")
    failing = ("sweep.max_failures=5", "hydra.sweeper.max_failure_rate=1")
    assert run(tmp_path, *sweep, *failing, hook, "training.epochs=1", "training.monitor=val_auc") == 0
    told = [(content["event"], content.get("value")) for _, _, content in got]
    assert told == [("failing", None), ("new_best", 0.7), ("finished", None)]
    assert "trial 1 failed: " in got[0][2]["text"]
    assert "study s" in got[2][2]["text"]
    study = optuna.load_study(study_name="s", storage=f"sqlite:///{tmp_path}/runs/studies.db")
    assert SECRET not in repr([trial.user_attrs for trial in trials_of(study)] + [study.user_attrs])


def test_a_command_that_fails_says_why(tmp_path: Path, hook: str, got: list[Any]) -> None:
    assert run(tmp_path, hook, "data=event_log", "data.path=nowhere.csv", "hydra.run.dir=r", tiny=()) == 2
    [(_, _, content)] = got
    assert content["event"] == "failing"
    assert "nowhere.csv" in content["text"]


def test_an_alert_that_fails_is_one_warning_which_keeps_the_webhooks_path_to_itself(
    tmp_path: Path, server: HTTPServer, got: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    typed = (f"alert.webhook=http://127.0.0.1:{server.server_port}/broken-{SECRET}", "alert.command=[/no/such/program]")
    assert run(tmp_path, typed[0], "hydra.run.dir=r", "training.epochs=3", "training.learning_rate=1e-3") == 0
    said = capsys.readouterr().err
    assert len(got) >= 1
    assert said.count("an alert could not be sent: 127.0.0.1: answered 500") == 1
    assert SECRET not in said


def test_an_alert_follows_no_redirect_ends_in_its_time_and_tells_the_others_whoever_fails(
    server: HTTPServer,
    got: list[Any],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(alerts, "COMMAND_SECONDS", 0.2)
    here = f"http://127.0.0.1:{server.server_port}"
    orphan = tmp_path / "orphan"
    command = ["sh", "-c", f"(sleep 3; touch {orphan}) & wait"]
    for webhook in (f"{here}/moved-{SECRET}", f"{here}/garbage-{SECRET}", f"http://127.0.0.1:port/{SECRET}"):
        alerts.Alerts("mdaf", command, webhook=webhook).tell(alerts.FINISHED, "done\udcff")
        alerts.Alerts("mdaf", webhook=webhook).tell(alerts.FINISHED, "done")
    alerts.Alerts("mdaf", webhook=f"http://127.0.0.1:1/{SECRET}").tell(alerts.FINISHED, "done")
    assert [path for path, _, _ in got] == [f"/{name}-{SECRET}" for name in ("moved", "moved", "garbage", "garbage")]
    for said in ("sh took too long", "answered 302", "BadStatusLine", "InvalidURL", "127.0.0.1: Connection refused"):
        assert said in caplog.text
    assert SECRET not in caplog.text
    left = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(orphan) not in left


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        (
            "alert.on=[finish]",
            "alert.on: found finish, expected one or more of finished, failing, new_best; did you mean",
        ),
        ("alert.webhook=ftp://x", "alert.webhook: found no URL, expected one that begins with https:// or http://"),
        (
            "alert.command=[false]",
            "alert.command is a list of words, and false is read as a value; type 'alert.command=[\"false\"]'",
        ),
        ("alert.command=[tell,1e3,x]", "and 1e3 is read as a value; type 'alert.command=[tell,\"1e3\",x]'"),
        ('alert.command=["False"]', "alert.command: found the value false, expected a program; if it is called so"),
    ],
)
def test_an_alert_that_cannot_be_sent_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], typed: str, line: str
) -> None:
    assert run(tmp_path, typed) == 2
    assert line in capsys.readouterr().err
