"""The example of a model and a source of one's own, in a folder outside of the package."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.examples.readme import EXAMPLES, SCRIPTS, blocks, copy_of
from tests.processes import ROOT
from tests.sweeper.inside import assert_same_run

MODULES = {**SCRIPTS, "mdaf-predict": "mdaf.sweeper.predict"}
EXPORT, MAKE_LOG, CHECK = blocks("own_model")[0]
FIRST, *OTHERS = blocks("own_model")[1]
[PREDICT] = blocks("own_model")[2]
ROWS = "visitor,sku,at,shelf\nu1,s3,1769500000,shelf 1\nnew,s99,1769500000,\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return copy_of("own_model", tmp_path)


def typed(line: str, folder: Path) -> str:
    """What a line prints that is typed after the first one, in a process that begins as a shell begins it."""
    exported = dict(word.split("=", 1) for word in shlex.split(EXPORT)[1:])
    exported["PYTHONPATH"] += f"{os.pathsep}{ROOT}"
    program, *words = shlex.split(line)
    command = [sys.executable, *(words if program == "python" else ["-m", MODULES[program], *words])]
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    done = subprocess.run(command, cwd=folder, env={**inherited, **exported}, capture_output=True, text=True)
    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def result(folder: Path) -> dict[str, object]:
    return dict(json.loads((folder / "result.json").read_text()))


def test_a_model_and_a_source_of_ones_own_are_checked_trained_and_used(folder: Path) -> None:
    typed(MAKE_LOG, folder)
    assert typed(CHECK, folder).splitlines()[-1] == "17 checks, nothing is wrong"
    typed(FIRST, folder)
    assert (result(folder / "runs/first")["model"], result(folder / "runs/first")["data"]) == (
        "history_mean",
        "sessions",
    )
    (folder / "rows.csv").write_text(ROWS)
    typed(PREDICT, folder)
    header, *rows = (folder / "scores.csv").read_text().splitlines()
    assert header == "visitor,sku,at,shelf,score"
    assert len(rows) == 2
    assert all(0 < float(row.rpartition(",")[2]) < 1 for row in rows)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_they_are_swept_confirmed_and_verified_and_the_same_run_twice_is_the_same(folder: Path) -> None:
    for line in (MAKE_LOG, FIRST, *OTHERS):
        shown = typed(line, folder)
    assert "hold, and the AUCs are those of the checkpoints" in shown
    typed(FIRST.replace("runs/first", "runs/again"), folder)
    assert_same_run(folder / "runs/first", folder / "runs/again")
    typed(FIRST.replace("history_mean", "history_mean_fast").replace("runs/first", "runs/fast"), folder)
    assert result(folder / "runs/fast")["model"] == "history_mean_fast"


@pytest.mark.slow
def test_its_own_test_runs(folder: Path) -> None:
    [line] = [
        row.split("`")[3]
        for row in (EXAMPLES / "own_model/README.md").read_text().splitlines()
        if row.startswith("| `test_mine.py`")
    ]
    assert "2 passed" in typed(f"{line} -p no:cacheprovider", folder)
