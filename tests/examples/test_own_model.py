"""The example of a model class of one's own in our training loop."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.examples.readme import EXAMPLES, ROOT, blocks
from tests.sweeper.tiny import typed

EXAMPLE = EXAMPLES / "own_model"


def test_a_model_of_ones_own_is_trained_by_our_loop(tmp_path: Path) -> None:
    (tmp_path / "conf/model").mkdir(parents=True)
    shutil.copy(EXAMPLE / "history_mean.yaml", tmp_path / "conf/model")
    words = blocks("own_model")[0][2].split()[3:]
    run = typed("tests.examples.with_model", str(EXAMPLE), "--config-dir", "conf", *words, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    (result,) = (json.loads(file.read_text()) for file in tmp_path.rglob("result.json"))
    assert result["model"] == "history_mean"
    assert 0.4 < result["objective"] < 1


@pytest.mark.slow
def test_its_lines_run_as_typed_in_a_clone(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("conf", "data", "examples", "mdaf", "model", "multirun", "sweeper"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    # The links that `make .imports` makes stand in for an editable installation of this copy.
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": f"{tmp_path}/.imports{os.pathsep}{tmp_path}",
        "PYTHONSAFEPATH": "1",
    }
    for line in ("make --silent .imports", *blocks("own_model")[0]):
        done = subprocess.run(line, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
    results = [json.loads(file.read_text()) for file in (tmp_path / "runs").rglob("result.json")]
    assert [result["model"] for result in results] == ["history_mean"] * 4
