"""The live page: what it answers, to whom, and how it ends."""

from __future__ import annotations

import http.client
import json
import math
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from mdaf.sweeper.study.queries import QueryError
from mdaf.sweeper.study.serving import content
from mdaf.sweeper.study.serving.server import LivePage
from tests.sweeper.tiny import ROOT

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A study that runs: a known point, one that was pruned, one that runs, one that diverged; and a hostile name."""
    url = f"sqlite:///{tmp_path}/s.db"
    study = optuna.create_study(storage=url, study_name="sweep", direction="maximize")
    space = {"lr": optuna.distributions.FloatDistribution(0, 1)}
    for number, (state, value) in enumerate(
        (
            (TrialState.COMPLETE, 0.61),
            (TrialState.COMPLETE, 0.64),
            (TrialState.PRUNED, None),
            (TrialState.RUNNING, None),
        )
    ):
        curve = {1: 0.5, 2: value or 0.55} | ({3: float("inf")} if number == 1 else {})
        name = {"point": "balanced"} if number == 0 else {}
        study.add_trial(
            create_trial(
                state=state,
                value=value,
                params={"lr": 0.1 * (number + 1)},
                distributions=space,
                intermediate_values=curve,
                user_attrs=name,
            )
        )
    study.add_trial(create_trial(state=TrialState.FAIL))
    optuna.create_study(storage=url, study_name=HOSTILE)
    return url


@pytest.fixture
def served(url: str) -> Iterator[LivePage]:
    away: list[str] = []

    def read(name: str | None) -> dict[str, Any]:
        return {"away": away[0]} if away else content.snapshot(url, name or "sweep")

    server = LivePage(0, read)
    server.away = away  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def asked(server: LivePage, path: str, host: str | None = None, method: str = "GET") -> tuple[Any, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    connection.request(method, path, headers={"Host": host or f"127.0.0.1:{server.server_port}"})
    answer = connection.getresponse()
    return answer, answer.read().decode()


def test_it_gives_points_curves_and_values_of_a_study_that_runs(served: LivePage) -> None:
    answer, text = asked(served, "/study.json")
    found = json.loads(text)
    assert answer.status == 200
    assert set(found["studies"]) == {"sweep", HOSTILE}
    study = found["study"]
    assert study["counts"] == {"complete": 2, "pruned": 1, "running": 1, "failed": 1}
    assert [row["name"] for row in study["rows"]] == ["trial 1", "trial 0, balanced"]
    assert study["values"] == [[0, 0.61], [1, 0.64]]
    curves = {curve["name"]: curve for curve in study["curves"]}
    assert curves["trial 3"]["state"] == "running"
    assert curves["trial 1"]["points"] == [[1, 0.5], [2, 0.64]]  # what is no number is left out
    assert curves["trial 0"]["colour"] == study["rows"][1]["colour"]


def test_of_too_many_values_some_are_drawn_and_each_new_best_among_them(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = optuna.load_study(storage=url, study_name="sweep")
    for value in [0.1, 0.7, *[0.2] * 20, 0.9, *[0.3] * 20]:
        study.add_trial(create_trial(value=value))
    monkeypatch.setattr(content, "MOST_VALUES", 12)
    found = content.snapshot(url, "sweep")["study"]["values"]
    assert len(found) == 12
    assert found == sorted(found)
    assert {0.61, 0.64, 0.7, 0.9} <= {value for _, value in found}


def test_a_page_needs_no_other_host_and_runs_no_script_of_another(served: LivePage) -> None:
    answer, page = asked(served, "/")
    policy = answer.getheader("Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http://" not in page + asked(served, "/style.css")[1]
    assert "innerHTML" not in asked(served, "/live.js")[1]
    assert "<script>" not in page
    answer, text = asked(served, f"/study.json?study={HOSTILE}")
    assert answer.getheader("Content-Type").startswith("application/json")
    assert json.loads(text)["study"]["rows"] == []


def test_another_host_name_and_what_is_no_page_are_refused_and_nothing_can_be_written(served: LivePage) -> None:
    assert asked(served, "/study.json", host="evil.example")[0].status == 403
    assert asked(served, "/study.json", host=f"localhost:{served.server_port}")[0].status == 200
    assert asked(served, "/../pyproject.toml")[0].status == 404
    assert asked(served, "/study.json", method="POST")[0].status == 501


def test_a_database_that_is_away_is_a_line_and_the_page_goes_on(
    served: LivePage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mdaf.sweeper.study.serving.server.FRESH_SECONDS", 0.0)
    served.away.append("the database does not answer")  # type: ignore[attr-defined]
    assert json.loads(asked(served, "/study.json")[1]) == {"away": "the database does not answer"}
    served.away.clear()  # type: ignore[attr-defined]
    assert json.loads(asked(served, "/study.json")[1])["study"]["name"] == "sweep"


def test_a_study_that_another_program_has_filled_is_shown(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    study = optuna.create_study(storage=url, study_name="other")
    strange: tuple[Any, ...] = (7, {"a": [1]}, ["x"], HOSTILE, "\x1b[31m\n")
    for name in strange:
        attrs = {"point": name, "run_dir": name, "seed": name}
        study.add_trial(create_trial(value=1.0, intermediate_values={0: 1.0, 10**9: math.nan}, user_attrs=attrs))
    found = content.snapshot(url, "other")["study"]
    json.dumps(found, allow_nan=False)
    assert len(found["rows"]) == len(found["curves"]) == len(strange)
    assert "\x1b" not in repr([row["name"] for row in found["rows"]])


def test_a_browser_that_leaves_before_its_answer_is_no_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    is_gone = threading.Event()

    def read(name: str | None) -> dict[str, Any]:
        is_gone.wait(30)
        return {}

    server = LivePage(0, read)
    browser = socket.create_connection(("127.0.0.1", server.server_port))
    browser.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closing resets
    browser.sendall(f"GET /study.json HTTP/1.0\r\nHost: 127.0.0.1:{server.server_port}\r\n\r\n".encode())
    server.daemon_threads = False  # so that closing waits for the answer
    server.handle_request()
    browser.close()
    is_gone.set()
    server.server_close()
    assert capfd.readouterr().err == ""


def test_a_study_that_is_not_there_is_said_before_a_page_is(url: str) -> None:
    with pytest.raises(QueryError, match="swept"):
        content.snapshot(url, "swept")


def test_the_command_says_where_the_page_is_and_ends_in_one_line(url: str) -> None:
    code = (
        "import sys\nfrom mdaf.sweeper.study.cli import main\ntry:\n    main()\n"
        "finally:\n    print(*{'torch', 'polars', 'sklearn', 'numba'} & set(sys.modules), end='')"
    )
    typed = [sys.executable, "-c", code, "serve", "--storage", url, "--study", "sweep"]
    variables = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(typed, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=variables) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert first.startswith("http://127.0.0.1:")
    assert process.returncode in (0, 130)
    assert len((out + err).strip().splitlines()) == 1
