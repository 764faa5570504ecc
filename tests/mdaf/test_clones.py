"""A clone that is run with another clone's environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import ROOT


@pytest.mark.parametrize(
    ("own_environment", "program"),
    [(True, "sweeper"), (False, "mdaf.sweeper")],
    ids=["with-environment", "without"],
)
def test_a_clone_with_another_clones_environment_is_refused_in_one_line_with_what_to_type(
    tmp_path: Path, own_environment: bool, program: str
) -> None:
    clone = tmp_path / "second clone"
    for folder in ("mdaf", "sweeper"):
        shutil.copytree(ROOT / folder, clone / folder, ignore=shutil.ignore_patterns("__pycache__"))
    if own_environment:
        (clone / ".venv/bin").mkdir(parents=True)
        (clone / ".venv/bin/python").touch()
    found = {name: value for name, value in os.environ.items() if name not in ("PYTHONSAFEPATH", "PYTHONPATH")}
    run = subprocess.run(
        [sys.executable, "-m", program, "seed=1"], cwd=clone, env=found, capture_output=True, text=True, timeout=60
    )
    to_type = (
        "type .venv/bin/python -m sweeper seed=1"
        if own_environment
        else f"type make test in {clone}, which makes its own environment"
    )
    belongs = f"{clone} is one clone, and this Python belongs to another: its mdaf.sweeper is {ROOT / 'sweeper'}"
    assert (run.returncode, run.stdout, run.stderr) == (2, "", f"error: {belongs}; {to_type}\n")
