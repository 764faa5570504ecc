"""Lines to type name the programs in the way in which the user typed this one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mdaf.terminal.programs import SCRIPTS, command, here, started


@pytest.mark.parametrize("package", SCRIPTS)
def test_a_console_script_names_console_scripts(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", [f"/usr/local/bin/{SCRIPTS['sweeper']}"])
    assert command(package) == SCRIPTS[package]


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


def test_a_script_that_is_not_on_the_path_is_named_as_it_was_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    monkeypatch.setattr("sys.argv", ["./no-such-app", "-m"])
    assert started() == "./no-such-app"
    monkeypatch.setattr("sys.argv", ["/usr/local/bin/env", "-m"])
    assert started() == "env"


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The scripts of an environment below the current folder, whose Python runs and which is not activated."""
    scripts = tmp_path / ".venv/bin"
    scripts.mkdir(parents=True)
    for name in ("python", "mdaf", "mdaf-study"):
        (scripts / name).write_text("#!/bin/sh\n")
        (scripts / name).chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.executable", str(scripts / "python"))
    monkeypatch.setattr("sys.argv", ["mdaf"])
    return scripts


def test_a_line_to_type_names_the_files_of_an_environment_that_is_not_activated(
    environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert command("sweeper.study") == ".venv/bin/mdaf-study"
    assert here("mdaf seed=7 'a=b c'") == ".venv/bin/mdaf seed=7 'a=b c'"
    assert here("python -m sweeper seed=7") == ".venv/bin/python -m sweeper seed=7"
    assert here("trainer seed=7") == "trainer seed=7"  # a program of another author
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert command("sweeper.study") == str(environment / "mdaf-study")


def test_a_line_to_type_is_short_where_the_path_leads_to_this_environment(
    environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{environment}:/usr/bin")
    assert command("sweeper.study") == "mdaf-study"
    assert here("python -m sweeper") == "python -m sweeper"
    links = tmp_path / "links"  # as pipx makes them
    links.mkdir()
    (links / "mdaf-study").symlink_to(environment / "mdaf-study")
    monkeypatch.setenv("PATH", f"{links}:/usr/bin")
    assert command("sweeper.study") == "mdaf-study"


def test_a_line_to_type_never_leads_to_the_environment_of_another_clone(
    environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for name in ("python", "mdaf-study"):
        (other / name).write_text("#!/bin/sh\n")
        (other / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{other}:/usr/bin")
    assert command("sweeper.study") == ".venv/bin/mdaf-study"
    assert here("python -m sweeper") == ".venv/bin/python -m sweeper"


def test_the_lines_that_a_sweep_prints_work_without_activation(tmp_path: Path) -> None:
    own = Path(sys.executable).parent
    path = os.pathsep.join(folder for folder in os.environ["PATH"].split(os.pathsep) if folder != str(own))

    def typed(line: str) -> str:
        environment = os.environ | {"PATH": path}
        return subprocess.check_output(
            line, shell=True, cwd=tmp_path, env=environment, stderr=subprocess.STDOUT, text=True
        )

    tiny = "data=synthetic_tiny model=deepfm device=cpu training.epochs=1 hydra.sweeper.n_trials=1"
    printed = typed(f"{own}/mdaf -m hydra/sweeper=regularization {tiny}")
    line = re.search(r"how to run them again: (.*)", printed)
    assert line is not None, printed
    assert typed(line[1]).splitlines()[-1].startswith(f"{own}/mdaf seed=7 ")
