"""``mdaf doctor`` says what is here, what is missing for what, and what to type."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mdaf import extras
from mdaf.sweeper.doctor import cli, findings

Asked = Callable[[], tuple[int, dict[str, dict[str, Any]]]]


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Asked:
    """The exit code, and the findings by name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MDAF_STORAGE", raising=False)

    def ask() -> tuple[int, dict[str, dict[str, Any]]]:
        code = cli.main(["--format", "json"])
        return code, {one["name"]: one for one in json.loads(capsys.readouterr().out)}

    return ask


def test_versions_devices_extras_and_the_place_are_told_and_the_usual_works(asked: Asked, tmp_path: Path) -> None:
    code, found = asked()
    assert code == 0
    assert {"mdaf-sweep", "Python", "optuna", "torch", "CPU", "threads of a run", "ctr", "runs/", "disk"} <= set(found)
    assert " cores" in found["CPU"]["value"]
    assert found["ctr"]["value"].endswith("installed")
    assert list(tmp_path.iterdir()) == []


def test_what_is_missing_is_told_with_the_line_that_installs_it(
    asked: Asked, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(extras, "_is_installed", lambda name: name != "plotly")
    monkeypatch.setattr(findings, "find_spec", lambda name: None)  # the light installation has no torch
    code, found = asked()
    assert code == 0
    assert "threads of a run" not in found
    assert found["plots"]["mark"] == "note"
    assert "plotly missing" in found["plots"]["value"]
    assert found["plots"]["to_type"].endswith("-m pip install 'plotly>=6'")
    assert cli.main([]) == 0
    assert "the usual works" in capsys.readouterr().out


def test_a_torch_that_breaks_in_any_way_and_a_folder_that_was_deleted_are_said(
    asked: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lib/torch").mkdir(parents=True)
    (tmp_path / "lib/torch/__init__.py").write_text("raise AttributeError('half installed')\n")
    with monkeypatch.context() as patched:
        patched.syspath_prepend(str(tmp_path / "lib"))
        patched.delitem(sys.modules, "torch")
        code, found = asked()
    assert (code, found["torch"]["mark"], found["torch"]["value"]) == (
        1,
        "wrong",
        "is installed and cannot be imported",
    )
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(SystemExit):
        asked()
    assert capsys.readouterr().err == "error: this working directory was deleted; cd to another folder\n"


def test_a_database_that_does_not_answer_and_a_full_disk_are_wrong(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(findings, "_torch", lambda: None)
    monkeypatch.setenv("MDAF_STORAGE", "oracel://me:hunter2@host/db")
    monkeypatch.setattr(findings, "LEAST_FREE", 1 << 80)
    code, found = asked()
    assert code == 1
    database = found["study database, from MDAF_STORAGE"]
    assert (database["mark"], database["to_type"]) == ("wrong", "unset MDAF_STORAGE")
    assert "me:***@host" in database["value"]
    assert found["disk"]["mark"] == "wrong"
