"""Lines to type name the programs in the way in which the user typed this one."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from mdaf.terminal.programs import SCRIPTS, beside


@pytest.mark.parametrize("package", SCRIPTS)
def test_a_console_script_names_console_scripts(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", [f"/usr/local/bin/{SCRIPTS['sweeper']}"])
    assert beside(package) == [SCRIPTS[package]]


def test_the_names_are_those_that_are_installed() -> None:
    from importlib.metadata import entry_points

    installed = {one.name: one.value for one in entry_points(group="console_scripts") if one.value.startswith("mdaf.")}
    modules = {name: re.sub(r"(\.__main__|\.cli)?:\w+$", "", value) for name, value in installed.items()}
    assert modules == {name: f"mdaf.{package}" for package, name in SCRIPTS.items()}


@pytest.mark.parametrize("module", ["data", "mdaf.data"])
def test_a_module_names_modules_that_are_found_in_the_same_way(module: str) -> None:
    root = Path(__file__).parents[3]
    run = subprocess.run(
        [sys.executable, "-m", module, "--help"], cwd=root, capture_output=True, text=True, check=True, timeout=60
    )
    assert f"usage: python -m {module} " in run.stdout
    assert f"  python -m {module.removesuffix('data')}sweeper data=NAME" in run.stdout
